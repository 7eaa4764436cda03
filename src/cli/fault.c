#include "cli/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "leco/leco.h"

/* Inside a signal's handler: no stdio. */
static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static atomic_flag telling = ATOMIC_FLAG_INIT;
    (void)context;
    const char *path = info->si_code > 0 ? leco_mapped_file(info->si_addr) : NULL; /* or else kill(2) sent it */
    if (!path) {                                                                   /* not ours to explain */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    while (atomic_flag_test_and_set(&telling)) pause(); /* several threads read that file: one of them tells */
    if (isatty(STDERR_FILENO)) say("\r\033[K");         /* a progress bar may stand there */
    say("leco: ");
    say(path);
    say(": became shorter while it was read, or its disk failed\n");
    _exit(EXIT_FAILED);
}

void fault_catch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
