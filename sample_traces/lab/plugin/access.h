/* Registers and memory of the vCPU that runs. */
#ifndef ACCESS_H
#define ACCESS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REGISTERS = 31, LINK = 30 };

/* Takes the handles of registers; called where a vCPU is created. */
void access_begin(void);

/* x0 to x30; 0 for every other number. */
uint64_t access_x(int number);
uint64_t access_stack(void);

/* SP_EL0: the address of the running task, while the kernel runs. */
uint64_t access_task(void);

/* 0 to 3. */
unsigned access_exception_level(void);

bool access_memory(uint64_t address, void *to, size_t length);

#endif
