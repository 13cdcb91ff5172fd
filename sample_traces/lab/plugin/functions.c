/* The list's lines:
 *     function ADDRESS SIZE NAME [gate] [inside] [stores] [NAME=[+OFFSET(]%xN[)]:TYPE ...]
 *     switch ADDRESS          (cpu_switch_to)
 *     marker ADDRESS          (tracing_mark_write)
 *     copy ADDRESS            (__arch_copy_from_user)
 *     task pid=N tgid=N comm=N cpu=N
 * Numbers are hexadecimal; an argument is written as in kprobe_events, TYPE is x64, u64, s32 or s8. */
#include "functions.h"

#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_argument(struct function *function, const char *text)
{
    struct argument *one = &function->arguments[function->n_arguments];
    char type[8], place[32];

    if (function->n_arguments == MAX_ARGUMENTS || sscanf(text, "%31[a-z_]=%31[^:]:%7s", one->name, place, type) != 3)
        return false;
    one->in_memory = sscanf(place, "+0x%" SCNx64 "(%%x%d)", (uint64_t *)&one->offset, &one->reg) == 2;
    if (!one->in_memory && sscanf(place, "%%x%d", &one->reg) != 1)
        return false;
    one->is_signed = type[0] == 's';
    one->bytes = atoi(type + 1) / 8;
    function->n_arguments++;
    return one->reg >= 0 && one->reg < 8 && (one->bytes == 1 || one->bytes == 4 || one->bytes == 8);
}

static bool read_function(struct guest *guest, char *rest)
{
    struct function one = {0};
    char *save, *word;
    int used;

    if (sscanf(rest, "%" SCNx64 " %" SCNx64 " %127s%n", &one.address, &one.size, one.name, &used) != 3)
        return false;
    for (word = strtok_r(rest + used, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
        if (!strcmp(word, "gate"))
            one.gate = true;
        else if (!strcmp(word, "inside"))
            one.inside = true;
        else if (!strcmp(word, "stores"))
            one.stores = true;
        else if (!read_argument(&one, word))
            return false;
    }
    guest->functions = g_renew(struct function, guest->functions, guest->n_functions + 1);
    guest->functions[guest->n_functions++] = one;
    return true;
}

static bool read_line(struct guest *guest, char *line)
{
    if (line[0] == '#' || line[0] == '\n')
        return true;
    if (!strncmp(line, "function ", 9))
        return read_function(guest, line + 9);
    if (!strncmp(line, "task ", 5))
        return sscanf(line, "task pid=%" SCNx64 " tgid=%" SCNx64 " comm=%" SCNx64 " cpu=%" SCNx64,
                      (uint64_t *)&guest->pid, (uint64_t *)&guest->tgid, (uint64_t *)&guest->comm,
                      (uint64_t *)&guest->cpu) == 4;
    return sscanf(line, "switch %" SCNx64, &guest->switch_to) == 1
        || sscanf(line, "marker %" SCNx64, &guest->mark_write) == 1
        || sscanf(line, "copy %" SCNx64, &guest->copy_from_user) == 1;
}

static int by_address(const void *a, const void *b)
{
    const struct function *one = a, *other = b;
    return one->address < other->address ? -1 : one->address > other->address;
}

bool guest_read(struct guest *guest, const char *path)
{
    char line[1024];
    FILE *file = fopen(path, "r");

    *guest = (struct guest){.pid = -1, .tgid = -1, .comm = -1, .cpu = -1};
    if (!file) {
        perror(path);
        return false;
    }
    for (int number = 1; fgets(line, sizeof line, file); number++) {
        if (!read_line(guest, line)) {
            fprintf(stderr, "%s:%d: not a line of a function list\n", path, number);
            fclose(file);
            return false;
        }
    }
    fclose(file);
    if (!guest->n_functions) {
        fprintf(stderr, "%s: no function\n", path);
        return false;
    }
    qsort(guest->functions, guest->n_functions, sizeof *guest->functions, by_address);
    return true;
}

const struct function *guest_function(const struct guest *guest, uint64_t address)
{
    size_t low = 0, high = guest->n_functions;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct function *one = &guest->functions[middle];
        if (address < one->address)
            high = middle;
        else if (address >= one->address + one->size)
            low = middle + 1;
        else
            return one;
    }
    return NULL;
}
