#include "access.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include <qemu-plugin.h>

static struct qemu_plugin_register *x[REGISTERS], *stack, *task, *state;
static GByteArray *bytes;

void access_begin(void)
{
    GArray *found = qemu_plugin_get_registers();

    if (!bytes)
        bytes = g_byte_array_new();
    for (guint at = 0; at < found->len; at++) {
        qemu_plugin_reg_descriptor *one = &g_array_index(found, qemu_plugin_reg_descriptor, at);
        int number, used = 0;
        if (sscanf(one->name, "x%d%n", &number, &used) == 1 && !one->name[used] && number >= 0 && number < REGISTERS)
            x[number] = one->handle;
        else if (!strcmp(one->name, "sp"))
            stack = one->handle;
        else if (!strcmp(one->name, "SP_EL0"))
            task = one->handle;
        else if (!strcmp(one->name, "cpsr"))
            state = one->handle;
    }
    g_array_free(found, TRUE);
}

static uint64_t value_of(struct qemu_plugin_register *handle)
{
    uint64_t value = 0;

    g_byte_array_set_size(bytes, 0);
    if (handle && qemu_plugin_read_register(handle, bytes) > 0)
        memcpy(&value, bytes->data, MIN(bytes->len, sizeof value));
    return value;
}

uint64_t access_x(int number)
{
    return number >= 0 && number < REGISTERS ? value_of(x[number]) : 0;
}

uint64_t access_stack(void)
{
    return value_of(stack);
}

uint64_t access_task(void)
{
    return value_of(task);
}

unsigned access_exception_level(void)
{
    return value_of(state) >> 2 & 3;
}

bool access_memory(uint64_t address, void *to, size_t length)
{
    g_byte_array_set_size(bytes, 0);
    if (!qemu_plugin_read_memory_vaddr(address, bytes, length) || bytes->len < length)
        return false;
    memcpy(to, bytes->data, length);
    return true;
}
