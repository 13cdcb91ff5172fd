/* What the plugin must know of A64 instructions: maintenance, barriers, and stores of 64 bits. */
#ifndef A64_H
#define A64_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { A64_NAME_BYTES = 32, A64_SP = 31 };

/* Writes the event of a TLBI, DC, IC, DSB or ISB, as `tlbi: op=ipas2e1is` or `dsb: option=ish`.
 * Returns false for every other instruction. `*rt` is the operand's register, -1 without one. */
bool a64_describe(uint32_t insn, char text[A64_NAME_BYTES], int *rt);

/* Whether an instruction may raise an exception or leave its block of code otherwise. */
bool a64_may_leave(uint32_t insn);

/* A store of 64 bits to memory: base register (A64_SP: the stack pointer), and what is added to
 * it. `known`: whether the address can be told before the store executes. */
struct a64_store {
    int base;
    int64_t offset;
    int index;  /* register, -1 without one */
    int shift;
    bool known;
};

bool a64_store(uint32_t insn, struct a64_store *store);

#endif
