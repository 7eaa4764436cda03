#include "model/rotation.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"

bool rotation_fits(const rotation *r)
{
    if (r->order == ROTATION_NEIGHBOURS) return r->stages == 1;
    if (r->order == ROTATION_HALVES && r->stages == 1) return true; /* all blocks of neighbours */
    return r->stages >= 1 && r->stages <= 32 && r->side % 2 == 0 && r->count % ((size_t)1 << (r->stages - 1)) == 0;
}

/* ---- a block ---- */

/* The columns of a [n, 2 n] from n on become (its columns before n)^-1 times themselves: Gauss-Jordan, with pivots. A
 * skew matrix beside 1 is never singular. */
static void solve(double *a, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t pivot = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(a[i * 2 * n + k]) > fabs(a[pivot * 2 * n + k])) pivot = i;
        for (size_t j = k; j < 2 * n && pivot != k; j++) {
            const double kept = a[k * 2 * n + j];
            a[k * 2 * n + j] = a[pivot * 2 * n + j];
            a[pivot * 2 * n + j] = kept;
        }
        double *of_pivot = a + k * 2 * n;
        const double factor = 1 / of_pivot[k];
        for (size_t j = k; j < 2 * n; j++) of_pivot[j] *= factor;
        for (size_t i = 0; i < n; i++) {
            double *row = a + i * 2 * n;
            const double times = row[k];
            if (i == k || times == 0) continue;
            for (size_t j = k; j < 2 * n; j++) row[j] -= times * of_pivot[j];
        }
    }
}

static double skew(const rotation *r, const float *q, size_t i, size_t j)
{
    return r->times * ((double)q[i * r->side + j] - (double)q[j * r->side + i]);
}

/* turned [n,n]; room for 2 n n values. */
static void turn_exactly(const rotation *r, const float *q, double *turned, double *room)
{
    const size_t n = r->side;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            room[i * 2 * n + j] = (i == j) - skew(r, q, i, j);
            room[i * 2 * n + n + j] = (i == j) + skew(r, q, i, j);
        }
    solve(room, n);
    for (size_t i = 0; i < n; i++) memcpy(turned + i * n, room + i * 2 * n + n, n * sizeof *turned);
}

static void turn_by_series(const rotation *r, const float *q, double *turned, double *room)
{
    const size_t n = r->side;
    double *power = room, *next = room + n * n;
    for (size_t i = 0; i < n * n; i++) turned[i] = power[i] = i / n == i % n;
    for (int degree = 1; degree <= r->series + r->half; degree++) {
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double sum = 0;
                for (size_t k = 0; k < n; k++) sum += power[i * n + k] * skew(r, q, k, j);
                next[i * n + j] = sum;
            }
        memcpy(power, next, n * n * sizeof *power);
        for (size_t i = 0; i < n * n; i++) turned[i] += (degree > r->series ? 1 : 2) * power[i];
    }
}

/* ---- stages ---- */

/* The row that is the p-th of a stage's blocks. */
static size_t row_of(const rotation *r, size_t stage, size_t p)
{
    if (r->order == ROTATION_NEIGHBOURS || (r->order == ROTATION_HALVES && r->stages == 1)) return p;
    const size_t half = r->side / 2, apart = half << stage, within = p % (2 * apart), begin = p - within;
    if (r->order == ROTATION_ROWS) return begin + within % 2 * apart + within / 2;
    const size_t piece = within / half;
    return begin + piece % 2 * apart + piece / 2 * half + within % half;
}

/* Rows of block k of a stage become what the block makes of them; the first stage finds none there. */
static bool turn(const rotation *r, size_t stage, size_t k, bool first, float *out)
{
    const size_t n = r->side, width = r->count * n;
    const float *q = r->q + (r->shared ? 0 : stage * r->count + k) * n * n;
    double *turned = mem_calloc(3 * n * n, sizeof *turned),
           *before = first ? NULL : mem_calloc(n, width * sizeof *before);
    const bool good = turned && (first || before);
    if (good) (r->series < 0 ? turn_exactly : turn_by_series)(r, q, turned, turned + n * n);
    for (size_t i = 0; good && before && i < n; i++) {
        const float *row = out + row_of(r, stage, k * n + i) * width;
        for (size_t j = 0; j < width; j++) before[i * width + j] = (double)row[j];
    }
    for (size_t i = 0; good && i < n; i++) {
        float *row = out + row_of(r, stage, k * n + i) * width;
        for (size_t j = 0; first && j < n; j++) row[row_of(r, stage, k * n + j)] = (float)turned[i * n + j];
        for (size_t j = 0; before && j < width; j++) {
            double sum = 0;
            for (size_t m = 0; m < n; m++) sum += turned[i * n + m] * before[m * width + j];
            row[j] = (float)sum;
        }
    }
    mem_free(turned);
    mem_free(before);
    return good;
}

bool rotation_make(const rotation *r, float *out)
{
    const size_t width = r->count * r->side, work = width * width * r->side; /* waking threads takes longer than less */
    int failed = 0;
    for (size_t i = 0; i < r->stages && !failed; i++) {
        const size_t stage = r->last_first ? r->stages - 1 - i : i;
#pragma omp parallel for num_threads(cpu_threads()) reduction(| : failed) schedule(dynamic) if (work > 100000)
        for (size_t k = 0; k < r->count; k++) failed |= !turn(r, stage, k, i == 0, out);
    }
    return !failed;
}
