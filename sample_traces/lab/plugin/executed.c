/* QEMU TCG plugin: what the vCPUs of a guest executed inside unmaps of KVM's stage 2, as text that
 * ftrace could have printed. No tracer runs in the guest. docs/instructions.md tells what the lines
 * and the clock mean, and what they can prove.
 *
 * Arguments: list=FILE (of functions.py), out=FILE. */
#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <qemu-plugin.h>

#include "a64.h"
#include "access.h"
#include "clock.h"
#include "functions.h"
#include "lines.h"
#include "tasks.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

enum { MARKER_BYTES = 4096, STACK_BYTES = 1 << 14 };
#define KERNEL_ADDRESSES (UINT64_C(1) << 63)

/* A block of code, or one instruction, that is looked at. They are kept until the end. */
struct site {
    uint64_t pc;
    unsigned ahead;  /* instructions behind it that were counted with it */
    const struct function *function;
    char text[A64_NAME_BYTES];
    int operand;
    struct a64_store store;
};

/* A store that is about to execute, of each vCPU; one may fail, and be done again. */
struct store {
    const struct site *site;
    struct task *task;
    uint64_t address, old;
    bool old_known;
};

static struct guest guest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *out;
static struct qemu_plugin_scoreboard *stores;
static unsigned exception_level;
static struct unseen unseen;
static const struct function copied = {.name = "__arch_copy_from_user"};

/* The running task, NULL while it is not the host's kernel that runs. Guests and hypervisors have the
 * same addresses and another exception level; the host's is that of whoever switches tasks first. */
static struct task *running(void)
{
    return access_exception_level() == exception_level ? task_at(access_task()) : NULL;
}

static int64_t argument_value(const struct argument *argument)
{
    uint64_t value = access_x(argument->reg);

    if (argument->in_memory) {
        uint64_t address = value + (uint64_t)argument->offset;
        value = 0;
        if (!access_memory(address, &value, (size_t)argument->bytes))
            unseen.memory++;
    }
    if (argument->bytes == 1)
        return argument->is_signed ? (int8_t)value : (int64_t)(uint8_t)value;
    if (argument->bytes == 4)
        return argument->is_signed ? (int32_t)value : (int64_t)(uint32_t)value;
    return (int64_t)value;
}

static void write_arguments(const struct frame *frame)
{
    for (int at = 0; at < frame->function->n_arguments; at++) {
        const struct argument *one = &frame->function->arguments[at];
        if (one->is_signed)
            fprintf(out, " %s=%" PRId64, one->name, frame->values[at]);
        else
            fprintf(out, " %s=0x%" PRIx64, one->name, (uint64_t)frame->values[at]);
    }
}

static struct frame *push(struct task *task, const struct function *function)
{
    int lost;
    struct frame *frame = task_push(task, function, access_x(LINK), access_stack(), &lost);

    unseen.returns += (unsigned)lost;
    unseen.calls += !frame;
    return frame;
}

static void on_entry(unsigned vcpu, void *data)
{
    const struct site *site = data;
    const struct function *function = site->function;
    struct frame *frame;
    struct task *task;

    pthread_mutex_lock(&lock);
    task = running();
    if (task && (!function->inside || task->gates)) {
        line_begin(&guest, task, vcpu, site->ahead);
        fprintf(out, "%s: (%s+0x0/0x%" PRIx64 ") x0=0x%" PRIx64 " x1=0x%" PRIx64 " x2=0x%" PRIx64, function->name,
                function->name, function->size, access_x(0), access_x(1), access_x(2));
        frame = push(task, function);
        if (frame) {
            for (int at = 0; at < function->n_arguments; at++)
                frame->values[at] = argument_value(&function->arguments[at]);
            write_arguments(frame);
        }
        fputc('\n', out);
    }
    pthread_mutex_unlock(&lock);
}

/* What was written to trace_marker, once the kernel has a copy: what the program has is not readable
 * for it otherwise (PSTATE.PAN). */
static void write_marker(struct task *task, unsigned vcpu, const struct frame *frame)
{
    static char text[MARKER_BYTES + 1];
    size_t length = (size_t)MIN((uint64_t)frame->values[1], MARKER_BYTES);

    task->marker = 0;
    if (access_x(0) || !access_memory((uint64_t)frame->values[0], text, length)) {
        unseen.memory++;
        length = (size_t)snprintf(text, sizeof text, "<not readable>");
    }
    while (length && (text[length - 1] == '\n' || !text[length - 1]))
        length--;
    text[length] = 0;
    for (size_t at = 0; at < length; at++)
        if (text[at] == '\n' || !text[at])
            text[at] = ' ';
    line_begin(&guest, task, vcpu, 0);
    fprintf(out, "tracing_mark_write: %s\n", text);
}

/* A block of code that may be what a function returns to. One that ends in a jump to another
 * function returns with it. */
static void on_block(unsigned vcpu, void *data)
{
    uint64_t pc = ((const struct site *)data)->pc;
    struct frame *top;
    struct task *task;

    if (!tasks_return_to(pc))
        return;
    pthread_mutex_lock(&lock);
    task = running();
    while (task && (top = task_top(task)) && top->returns_to == pc && top->stack == access_stack()) {
        const char *name = top->function->name;
        if (top->function == &copied) {
            write_marker(task, vcpu, top);
        } else {
            line_begin(&guest, task, vcpu, 0);
            fprintf(out, "%s_ret: (0x%" PRIx64 " <- %s) ret=0x%" PRIx64 "\n", name, pc, name, access_x(0));
        }
        task_pop(task);
    }
    pthread_mutex_unlock(&lock);
}

static void on_instruction(unsigned vcpu, void *data)
{
    const struct site *site = data;
    struct task *task;

    if (!tasks_gates())
        return;
    pthread_mutex_lock(&lock);
    /* Without VHE, the hypervisor works for the task, at a higher level. A guest is at a lower one. */
    task = access_exception_level() >= exception_level ? task_at(access_task()) : NULL;
    if (task && task->gates) {
        line_begin(&guest, task, vcpu, site->ahead);
        fputs(site->text, out);
        if (site->operand >= 0)
            fprintf(out, " xt=0x%" PRIx64, access_x(site->operand));
        fprintf(out, " pc=0x%" PRIx64 "\n", site->pc);
    }
    pthread_mutex_unlock(&lock);
}

/* Before a store: where it goes, unless that is the stack, and what is there. */
static void before_store(unsigned vcpu, void *data)
{
    const struct site *site = data;
    struct store *store;
    struct task *task;

    if (!tasks_gates())
        return;
    pthread_mutex_lock(&lock);
    store = qemu_plugin_scoreboard_find(stores, vcpu);
    task = running();
    store->site = NULL;
    store->address = access_x(site->store.base) + (uint64_t)site->store.offset;
    if (site->store.index >= 0)
        store->address += access_x(site->store.index) << site->store.shift;
    if (task && task->gates && (store->address ^ access_stack()) >= STACK_BYTES) {
        store->site = site;
        store->task = task;
        store->old_known = site->store.known && access_memory(store->address, &store->old, sizeof store->old);
    }
    pthread_mutex_unlock(&lock);
}

/* The entry that is visited, as the walker was told. */
static void write_visit(const struct task *task)
{
    for (int at = task->depth; at-- > 0;) {
        if (task->frames[at].function->n_arguments) {
            write_arguments(&task->frames[at]);
            return;
        }
    }
}

static void after_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    const struct site *site = data;
    struct store *store;

    if (!tasks_gates())
        return;
    pthread_mutex_lock(&lock);
    store = qemu_plugin_scoreboard_find(stores, vcpu);
    if (store->site == site) {
        struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(info, address);
        line_begin(&guest, store->task, vcpu, site->ahead);
        fprintf(out, "pte: va=0x%" PRIx64, address);
        if (place && !qemu_plugin_hwaddr_is_io(place))
            fprintf(out, " pa=0x%" PRIx64, qemu_plugin_hwaddr_phys_addr(place));
        if (store->old_known && store->address == address)
            fprintf(out, " old=0x%" PRIx64, store->old);
        fprintf(out, " new=0x%" PRIx64, qemu_plugin_mem_get_value(info).data.u64);
        write_visit(store->task);
        fprintf(out, " pc=0x%" PRIx64 "\n", site->pc);
    }
    store->site = NULL;
    pthread_mutex_unlock(&lock);
}

/* cpu_switch_to(prev, next): what next is called may have changed. */
static void on_switch(unsigned vcpu, void *data)
{
    (void)vcpu;
    (void)data;
    pthread_mutex_lock(&lock);
    if (!exception_level)
        exception_level = access_exception_level();
    if (running())
        task_at(access_x(1))->named = false;
    pthread_mutex_unlock(&lock);
}

/* tracing_mark_write(file, user pointer, length, position) */
static void on_marker(unsigned vcpu, void *data)
{
    struct task *task;

    (void)vcpu;
    (void)data;
    pthread_mutex_lock(&lock);
    task = running();
    if (task)
        task->marker = access_x(1);
    pthread_mutex_unlock(&lock);
}

/* __arch_copy_from_user(to, from, length) */
static void on_copy(unsigned vcpu, void *data)
{
    struct frame *frame;
    struct task *task;

    (void)vcpu;
    (void)data;
    pthread_mutex_lock(&lock);
    task = running();
    if (task && task->marker && task->marker == access_x(1)) {
        frame = push(task, &copied);
        if (frame) {
            frame->values[0] = (int64_t)access_x(0);
            frame->values[1] = (int64_t)access_x(2);
        }
    }
    pthread_mutex_unlock(&lock);
}

static void look_at(struct qemu_plugin_insn *insn, const struct site *found, uint32_t code)
{
    const struct function *function = found->function;
    struct site *site = g_memdup2(found, sizeof *found);
    bool wanted = true;

    if (function && function->address == site->pc)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_entry, QEMU_PLUGIN_CB_R_REGS, site);
    else if (guest.switch_to == site->pc)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_switch, QEMU_PLUGIN_CB_R_REGS, NULL);
    else if (guest.mark_write == site->pc)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_R_REGS, NULL);
    else if (guest.copy_from_user == site->pc)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_copy, QEMU_PLUGIN_CB_R_REGS, NULL);
    else
        wanted = false;
    if (a64_describe(code, site->text, &site->operand)) {
        wanted = true;
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_instruction, QEMU_PLUGIN_CB_R_REGS, site);
    } else if (function && function->stores && a64_store(code, &site->store) && site->store.base != A64_SP) {
        wanted = true;
        qemu_plugin_register_vcpu_insn_exec_cb(insn, before_store, QEMU_PLUGIN_CB_R_REGS, site);
        qemu_plugin_register_vcpu_mem_cb(insn, after_store, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_MEM_W, site);
    }
    if (!wanted)
        g_free(site);
}

static uint32_t code_of(const struct qemu_plugin_insn *insn)
{
    uint32_t code = 0;
    qemu_plugin_insn_data(insn, &code, sizeof code);
    return code;
}

/* A block is counted in runs that end with an instruction that may leave it: what is counted
 * executes. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t size = qemu_plugin_tb_n_insns(tb), end = 0;
    struct site block = {.pc = qemu_plugin_tb_vaddr(tb)};

    (void)id;
    if (block.pc & KERNEL_ADDRESSES)
        qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_R_REGS, g_memdup2(&block, sizeof block));
    for (size_t at = 0; at < size; at++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, at);
        struct site found = {.pc = qemu_plugin_insn_vaddr(insn)};
        if (at == end) {
            do
                end++;
            while (end < size && !a64_may_leave(code_of(qemu_plugin_tb_get_insn(tb, end - 1))));
            clock_count(insn, (unsigned)(end - at));
        }
        found.ahead = (unsigned)(end - at - 1);
        found.function = guest_function(&guest, found.pc);
        look_at(insn, &found, code_of(insn));
    }
}

static void on_vcpu(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id;
    (void)vcpu;
    pthread_mutex_lock(&lock);
    access_begin();
    clock_vcpu();
    pthread_mutex_unlock(&lock);
}

/* The lock is kept: a vCPU that still runs must not write to a file that is closed. */
static void at_exit(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    pthread_mutex_lock(&lock);
    lines_end(&unseen);
}

static bool read_options(int argc, char **argv)
{
    const char *list = NULL, *to = "executed.txt";

    for (int at = 0; at < argc; at++) {
        if (g_str_has_prefix(argv[at], "list=")) {
            list = argv[at] + strlen("list=");
        } else if (g_str_has_prefix(argv[at], "out=")) {
            to = argv[at] + strlen("out=");
        } else {
            fprintf(stderr, "no argument of this plugin: %s\n", argv[at]);
            return false;
        }
    }
    if (!list) {
        fputs("list=FILE is missing: what python3 -m sample_traces.lab.plugin prints\n", stderr);
        return false;
    }
    if (!guest_read(&guest, list))
        return false;
    if (!guest.switch_to) {
        fprintf(stderr, "%s: no cpu_switch_to\n", list);
        return false;
    }
    out = lines_open(to);
    return out;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (!read_options(argc, argv))
        return 1;
    clock_begin(info->system_emulation ? info->system.smp_vcpus : 1);
    stores = qemu_plugin_scoreboard_new(sizeof(struct store));
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
