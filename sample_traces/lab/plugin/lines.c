#include "lines.h"

#include <inttypes.h>

#include "access.h"
#include "clock.h"

#define NS_PER_SECOND UINT64_C(1000000000)

static FILE *out;
static bool begun, headless;
static uint64_t lines;

FILE *lines_open(const char *path)
{
    out = fopen(path, "w");
    if (!out)
        perror(path);
    return out;
}

static void name_task(const struct guest *guest, struct task *task)
{
    int32_t number;

    if (task->named)
        return;
    task->named = true;
    if (guest->pid < 0 || !access_memory(task->address + (uint64_t)guest->comm, task->comm, COMM_BYTES))
        snprintf(task->comm, sizeof task->comm, "<...>");
    if (guest->pid >= 0 && access_memory(task->address + (uint64_t)guest->pid, &number, sizeof number))
        task->pid = number;
    if (guest->pid >= 0 && access_memory(task->address + (uint64_t)guest->tgid, &number, sizeof number))
        task->tgid = number;
    for (char *c = task->comm; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

/* Of vCPUs that run in turn only the guest knows which one this is. */
static unsigned cpu_of(const struct guest *guest, const struct task *task, unsigned vcpu)
{
    int32_t cpu = 0;

    if (!clock_in_turn())
        return vcpu;
    if (guest->cpu < 0 || !access_memory(task->address + (uint64_t)guest->cpu, &cpu, sizeof cpu))
        headless = true;
    return (unsigned)cpu;
}

/* Once: the clock is known when code is executed. */
static void write_header(void)
{
    if (begun)
        return;
    begun = true;
    fprintf(out,
            "# tracer: nop\n#\n# clock: instructions executed %s; origin: emulated (QEMU TCG plugin)\n#\n"
            "#           TASK-PID       TGID   CPU#  |||||  TIMESTAMP  FUNCTION\n"
            "#              | |            |     |   |||||     |         |\n",
            clock_text());
}

void line_begin(const struct guest *guest, struct task *task, unsigned vcpu, unsigned ahead)
{
    uint64_t time = clock_now(vcpu, ahead, task->gates > 0);

    write_header();
    name_task(guest, task);
    lines++;
    fprintf(out, "%16s-%-7d (%7d) [%03u] ..... %5" PRIu64 ".%09" PRIu64 ": ", task->comm, task->pid, task->tgid,
            cpu_of(guest, task, vcpu), time / NS_PER_SECOND, time % NS_PER_SECOND);
}

void lines_end(const struct unseen *unseen)
{
    write_header();
    fprintf(out, "# end: %" PRIu64 " events, %u returns not seen, %u calls too deep, %u places not readable\n", lines,
            unseen->returns, unseen->calls, unseen->memory);
    if (fclose(out))
        perror("executed instructions");
    if (headless)
        fputs("the vCPUs run in turn, and the list has no offsets of tasks: their numbers are not known\n", stderr);
}
