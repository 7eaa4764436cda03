/* How many processor cores this process may use. */
#ifndef LECO_BASE_CORES_H
#define LECO_BASE_CORES_H

/* Physical cores among the processors of the affinity mask (or of OMP_PLACES, where OpenMP has bound this thread to one
 * of them), no more of them than the processor time that the control groups allow. At least 1. */
int cores_available(void);

/* The processor time that control groups allow, in cores, rounded up: the smallest quota of this process's group and
 * those around it; 0 where there is none. `membership` is "/proc/self/cgroup" and `mount` "/sys/fs/cgroup", but for
 * tests. Understands version 2 (cpu.max) and version 1 (cpu.cfs_quota_us). */
int cores_in_quota(const char *membership, const char *mount);

/* Seconds that this process's threads, all together, could have run but had to wait for a processor, since they are
 * there; 0 where the system doesn't tell. */
double cores_waited(void);

#endif
