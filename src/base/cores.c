#define _GNU_SOURCE /* sched_getaffinity */
#include "base/cores.h"

#include <dirent.h>
#include <omp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define PATH_ROOM 4096

/* The lowest-numbered hardware thread of the core that `cpu` belongs to; `cpu` itself where the kernel doesn't tell. */
static size_t first_sibling(size_t cpu)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "re");
    if (!file) return cpu;
    char line[32]; /* "0,64" or "0-1": sorted, the first number is enough */
    size_t sibling = cpu;
    if (fgets(line, sizeof line, file)) {
        char *end;
        long number = strtol(line, &end, 10);
        if (end != line && number >= 0 && number < CPU_SETSIZE) sibling = (size_t)number;
    }
    fclose(file);
    return sibling;
}

/* With OMP_PROC_BIND or OMP_PLACES the OpenMP library binds the first thread to the first place before main is
 * reached: the mask of that thread says nothing any more, but the places do. */
static bool cpus_of_places(cpu_set_t *set)
{
    int places = omp_get_num_places();
    for (int p = 0; p < places; p++) {
        int count = omp_get_place_num_procs(p);
        int *ids = mem_calloc((size_t)count, sizeof *ids);
        if (!ids) return false;
        omp_get_place_proc_ids(p, ids);
        for (int i = 0; i < count; i++)
            if (ids[i] >= 0 && ids[i] < CPU_SETSIZE) CPU_SET((size_t)ids[i], set);
        mem_free(ids);
    }
    return places > 0;
}

/* Two threads on one core share its vector units, so a second one would only slow the first down. */
static int physical_cores(void)
{
    cpu_set_t allowed, cores;
    CPU_ZERO(&allowed);
    CPU_ZERO(&cores);
    if (!cpus_of_places(&allowed) && sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        return online > 0 ? (int)online : 1;
    }
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) CPU_SET(first_sibling(cpu), &cores);
    int count = CPU_COUNT(&cores);
    return count > 0 ? count : 1;
}

/* ---- control groups ---- */

/* The first `count` numbers of a file; false where it has fewer ("max" is none). */
static bool read_numbers(const char *folder, const char *name, int count, long long *number)
{
    char path[PATH_ROOM], line[64];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const char *at = fgets(line, sizeof line, file);
    for (int i = 0; at && i < count; i++) {
        char *end;
        number[i] = strtoll(at, &end, 10);
        at = end == at ? NULL : end;
    }
    fclose(file);
    return at != NULL;
}

/* One group's quota in cores; 0: none. */
static int quota_of(const char *folder, bool unified)
{
    long long time[2]; /* microseconds of processor time, and in how many of the clock */
    bool known = unified ? read_numbers(folder, "cpu.max", 2, time)
                         : read_numbers(folder, "cpu.cfs_quota_us", 1, &time[0]) &&
                               read_numbers(folder, "cpu.cfs_period_us", 1, &time[1]);
    if (!known || time[0] <= 0 || time[1] <= 0) return 0;
    long long cores = (time[0] - 1) / time[1] + 1;
    return cores < CPU_SETSIZE ? (int)cores : 0;
}

/* The smallest quota of the group at mount/path and of those around it. Without a namespace of its own a container sees
 * its path on the host but only its own group in `mount`: folders that aren't there are passed over. */
static int smallest_quota(const char *mount, const char *path, bool unified)
{
    char folder[PATH_ROOM];
    int most = 0;
    size_t base = strlen(mount);
    if (snprintf(folder, sizeof folder, "%s%s", mount, path) >= (int)sizeof folder) return 0;
    for (;;) {
        int quota = quota_of(folder, unified);
        if (quota > 0 && (most == 0 || quota < most)) most = quota;
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < base) return most;
        *slash = '\0';
    }
}

/* Whether a comma-separated list of controllers holds "cpu". */
static bool names_cpu(const char *list)
{
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == 3 && strncmp(list, "cpu", 3) == 0) return true;
    return false;
}

int cores_in_quota(const char *membership, const char *mount)
{
    FILE *file = fopen(membership, "re");
    if (!file) return 0;
    char line[PATH_ROOM], folder[PATH_ROOM];
    int most = 0;
    while (fgets(line, sizeof line, file)) { /* "hierarchy:controllers:path"; version 2 names no controllers */
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        bool unified = list[1] == '\0';
        if (!unified && !names_cpu(list + 1)) continue;
        if (snprintf(folder, sizeof folder, unified ? "%s" : "%s/cpu", mount) >= (int)sizeof folder) continue;
        int quota = smallest_quota(folder, path, unified);
        if (quota > 0 && (most == 0 || quota < most)) most = quota;
    }
    fclose(file);
    return most;
}

int cores_available(void)
{
    int cores = physical_cores(), quota = cores_in_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota > 0 && quota < cores ? quota : cores;
}

/* Nanoseconds that one thread ran and waited, and how often it ran: Linux' schedstats. */
static double waited_of(const char *thread)
{
    char path[96];
    unsigned long long ran, waited;
    snprintf(path, sizeof path, "/proc/self/task/%.32s/schedstat", thread);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    const bool known = fscanf(file, "%llu %llu", &ran, &waited) == 2;
    fclose(file);
    return known ? 1e-9 * (double)waited : 0;
}

double cores_waited(void)
{
    double sum = 0;
    DIR *threads = opendir("/proc/self/task");
    if (!threads) return 0;
    for (const struct dirent *one; (one = readdir(threads));)
        if (one->d_name[0] != '.') sum += waited_of(one->d_name);
    closedir(threads);
    return sum;
}
