#include "test_support.h"

#include <string.h>

#include "base/log.h"

typedef struct seen {
    int count;
    log_level level;
    char message[4096];
} seen;

static void keep(void *user, log_level level, const char *message)
{
    seen *s = user;
    s->count++;
    s->level = level;
    strcpy(s->message, message);
}

static void messages_go_to_the_callback(void **state)
{
    (void)state;
    seen s = {0};
    log_message(LOG_INFO, "nobody listens yet");
    log_set_callback(keep, &s);
    log_message(LOG_WARNING, "%d of %s", 3, "five");
    assert_int_equal(s.count, 1);
    assert_int_equal(s.level, LOG_WARNING);
    assert_string_equal(s.message, "3 of five");
    char large[4096];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    log_message(LOG_DEBUG, "%s", large); /* cut, not overrun */
    assert_int_equal(s.count, 2);
    assert_in_range(strlen(s.message), 1000, sizeof large - 2);
    log_set_callback(NULL, NULL);
    log_message(LOG_INFO, "nobody listens any more");
    assert_int_equal(s.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages_go_to_the_callback)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
