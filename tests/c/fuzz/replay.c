/* A fuzz target without a fuzzer: it runs once on each file of each directory that is named. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *directory, const char *name) {
    static uint8_t data[1 << 20];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last one that is named does harm */
    LLVMFuzzerTestOneInput(data, size);
}

int main(int argument_count, char **arguments) {
    int count = 0;
    alarm(250);
    for (int i = 1; i < argument_count; i++) {
        DIR *directory = opendir(arguments[i]);
        for (struct dirent *each; directory && (each = readdir(directory));) {
            if (each->d_type == DT_REG) {
                run(arguments[i], each->d_name);
                count++;
            }
        }
        if (directory) {
            closedir(directory);
        }
    }
    fprintf(stderr, "%d inputs\n", count);
    return count ? EXIT_SUCCESS : EXIT_FAILURE;
}
