/* Logs a line to the file that STAND_IN_LOG names. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void say(const char *what) {
    const char *path = getenv("STAND_IN_LOG");
    char line[128];
    int size = snprintf(line, sizeof line, "%s\n", what);
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
    if (file >= 0) { (void)!write(file, line, size); close(file); }
}
