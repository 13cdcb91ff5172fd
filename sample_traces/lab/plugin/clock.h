/* How many instructions were executed: the time of every line. */
#ifndef CLOCK_H
#define CLOCK_H
#include <stdbool.h>
#include <stdint.h>

#include <qemu-plugin.h>

/* At the start, and where a vCPU is created. `vcpus`: how many there will be. */
void clock_begin(int vcpus);
void clock_vcpu(void);

/* Whether the vCPUs run in turn, in one thread. Known once code is translated. */
bool clock_in_turn(void);

/* Counts `instructions` more before this one executes. */
void clock_count(struct qemu_plugin_insn *insn, unsigned instructions);

/* The time on a vCPU, of which `ahead` instructions were counted and have not executed. `steady`:
 * nothing may be added to it now, as something is measured. Called with the lock held, in order. */
uint64_t clock_now(unsigned vcpu, unsigned ahead, bool steady);

/* What the header says of it. */
const char *clock_text(void);

#endif
