/* What befalls the process rather than a call. */
#ifndef LECO_CLI_FAULT_H
#define LECO_CLI_FAULT_H

/* Reading a mapped model that another program has just cut off, or whose disk fails, raises SIGBUS: from here on that
 * ends the program with exit status 1 and a sentence that names the file. */
void fault_catch(void);

#endif
