#include "clock.h"

#include <pthread.h>

/* Each vCPU's own; `behind` is added where vCPUs run in parallel. */
struct count {
    uint64_t executed, behind;
};

static struct qemu_plugin_scoreboard *counts;
static qemu_plugin_u64 executed;
static uint64_t in_turn, latest;
static pthread_t first_thread;
static bool parallel;
static int expected, seen;

void clock_begin(int vcpus)
{
    expected = vcpus;
    counts = qemu_plugin_scoreboard_new(sizeof(struct count));
    executed = qemu_plugin_scoreboard_u64_in_struct(counts, struct count, executed);
}

void clock_vcpu(void)
{
    if (!seen++)
        first_thread = pthread_self();
    else if (!pthread_equal(first_thread, pthread_self()))
        parallel = true;
}

/* One thread has made all of its vCPUs before it executes anything. */
bool clock_in_turn(void)
{
    return expected > 1 && seen == expected && !parallel;
}

static void count_in_turn(unsigned vcpu, void *instructions)
{
    (void)vcpu;
    in_turn += (uintptr_t)instructions;
}

/* Where vCPUs run in turn, QEMU 10.0 compiles the number of the one that translates into code that
 * all of them execute (gen_cpu_index() in accel/tcg/plugin-gen.c): counters of a vCPU are wrong, and
 * crash. There one counter is kept, outside of the generated code. */
void clock_count(struct qemu_plugin_insn *insn, unsigned instructions)
{
    if (clock_in_turn())
        qemu_plugin_register_vcpu_insn_exec_cb(insn, count_in_turn, QEMU_PLUGIN_CB_NO_REGS,
                                               (void *)(uintptr_t)instructions);
    else
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64, executed, instructions);
}

uint64_t clock_now(unsigned vcpu, unsigned ahead, bool steady)
{
    struct count *count;

    if (clock_in_turn())
        return in_turn - ahead;
    count = qemu_plugin_scoreboard_find(counts, vcpu);
    if (!steady && count->executed + count->behind - ahead < latest)
        count->behind = latest - (count->executed - ahead);
    if (count->executed + count->behind - ahead > latest)
        latest = count->executed + count->behind - ahead;
    return count->executed + count->behind - ahead;
}

const char *clock_text(void)
{
    if (clock_in_turn())
        return "by all vCPUs, 1 instruction = 1 ns, one vCPU at a time";
    if (expected > 1)
        return "per vCPU, 1 instruction = 1 ns, vCPUs in parallel: only the order of lines compares them";
    return "per vCPU, 1 instruction = 1 ns";
}
