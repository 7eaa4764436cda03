/* What several test programs need: a temporary folder of their own, and files in it. Failures here end the program. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* uses the four above without including them */

#include <stdbool.h>

#include "leco/status.h"

/* A folder of this process alone, made on the first call and removed when the program ends. */
const char *test_folder(void);

/* Whether tests are to run on the device of that name: LECO_TEST_DEVICE may name the only one. */
bool test_on(const char *device);

/* "FOLDER/name", in static storage that is reused after 16 calls. */
const char *test_path(const char *name);

void test_write(const char *path, const void *data, size_t size);

/* The whole file, NUL-terminated; free it with free. *size may be NULL. */
unsigned char *test_read(const char *path, size_t *size);

/* Files and folders in `folder`, not counting "." and "..": a way to see litter. */
int test_count_files(const char *folder);

/* Removes the folder test_path(name) with all files in it. */
void test_remove_files(const char *name);

/* Asserts the status, and that the message is one sentence that contains each of the NULL-terminated list of parts. */
#define assert_fails(call, expected_status, error, ...)                                                                \
    test_check_failure((call), (expected_status), (error), __FILE__, __LINE__, (const char *const[]){__VA_ARGS__, NULL})
void test_check_failure(leco_status status, leco_status expected, const leco_error *error, const char *file, int line,
                        const char *const *parts);

/* Asserts success, and prints the error's message otherwise. */
#define assert_works(call, error) test_check_success((call), (error), __FILE__, __LINE__)
void test_check_success(leco_status status, const leco_error *error, const char *file, int line);

#endif
