/*
 * unmap: one VM whose memory the host takes back, size after size, between markers that traceview reads (docs/steps.md).
 *
 *	gcc -O2 -static -o unmap unmap.c		# on arm64; elsewhere aarch64-linux-gnu-gcc
 *	unmap [-b 4k|thp|hugetlb] [-m] [-n REPEATS] SIZE_MIB...
 *
 * The guest writes to every 4 KiB of the range, so the backing decides the leaf size; then madvise(MADV_DONTNEED), or
 * with -m the removal of the slot, unmaps it. Prints one line per unmap: step, ns of the system call.
 * KVM API: Documentation/virt/kvm/api.rst (6.12).
 */
#ifndef __aarch64__
#error "for arm64 alone: aarch64-linux-gnu-gcc -O2 -static -o unmap unmap.c"
#endif
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CODE_IPA 0x10000000ul
#define DONE_IPA 0x20000000ul	/* no slot here: a store leaves KVM_RUN */
#define DATA_IPA 0x80000000ul
#define BLOCK_BYTES (2ul << 20)

asm("	.pushsection .rodata\n"
    "	.balign 4\n"
    "	.globl	guest, guest_end\n"
    "guest:	nop\n"			/* KVM_RUN skips one instruction after an MMIO store */
    "1:	str	xzr, [x0]\n"
    "	add	x0, x0, #4096\n"
    "	cmp	x0, x1\n"
    "	b.lo	1b\n"
    "	str	wzr, [x2]\n"
    "	b	.\n"
    "guest_end:\n"
    "	.popsection\n");
extern const char guest[], guest_end[];

static int vm, vcpu, marker;
static struct kvm_run *run;

static long call(int fd, unsigned long request, const void *arg, const char *what)
{
	long ret = ioctl(fd, request, arg);

	if (ret < 0)
		err(1, "%s", what);
	return ret;
}

static void set_slot(unsigned slot, uint64_t ipa, const void *memory, size_t bytes)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .guest_phys_addr = ipa, .memory_size = bytes, .userspace_addr = (uintptr_t)memory,
	};

	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

static void set_core(size_t offset, uint64_t value)
{
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / sizeof(uint32_t),
		.addr = (uintptr_t)&value,
	};

	call(vcpu, KVM_SET_ONE_REG, &reg, "KVM_SET_ONE_REG");
}

static void guest_writes(size_t bytes)
{
	set_core(offsetof(struct kvm_regs, regs.regs[0]), DATA_IPA);
	set_core(offsetof(struct kvm_regs, regs.regs[1]), DATA_IPA + bytes);
	set_core(offsetof(struct kvm_regs, regs.regs[2]), DONE_IPA);
	set_core(offsetof(struct kvm_regs, regs.pc), CODE_IPA);
	call(vcpu, KVM_RUN, NULL, "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != DONE_IPA)
		errx(1, "the guest left with reason %u", run->exit_reason);
}

static void create_vm(void)
{
	struct kvm_vcpu_init init = { 0 };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	void *code = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (kvm < 0 || code == MAP_FAILED)
		err(1, "/dev/kvm");
	vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	memcpy(code, guest, guest_end - guest);
	__builtin___clear_cache(code, (char *)code + 65536);
	set_slot(0, CODE_IPA, code, 65536);
	vcpu = call(vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
	run = mmap(NULL, call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE"), PROT_READ | PROT_WRITE,
		   MAP_SHARED, vcpu, 0);
	call(vm, KVM_ARM_PREFERRED_TARGET, &init, "KVM_ARM_PREFERRED_TARGET");
	call(vcpu, KVM_ARM_VCPU_INIT, &init, "KVM_ARM_VCPU_INIT");
}

static char *data(size_t bytes, const char *backing)
{
	int huge = strcmp(backing, "hugetlb") ? 0 : MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
	char *memory = mmap(NULL, bytes + BLOCK_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | huge, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "%zu bytes of %s", bytes, backing);
	memory = (char *)(((uintptr_t)memory + BLOCK_BYTES - 1) & -BLOCK_BYTES);
	if (!huge && madvise(memory, bytes, strcmp(backing, "thp") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE))
		err(1, "madvise");
	return memory;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ul + now.tv_nsec;
}

static void unmap(const char *step, char *memory, size_t bytes, int by_slot)
{
	uint64_t begin_ns, end_ns;

	guest_writes(bytes);
	if (marker >= 0)
		dprintf(marker, "unmap begin %s", step);
	begin_ns = now_ns();
	if (by_slot)
		set_slot(1, DATA_IPA, memory, 0);
	else if (madvise(memory, bytes, MADV_DONTNEED))
		err(1, "MADV_DONTNEED");
	end_ns = now_ns();
	if (marker >= 0)
		dprintf(marker, "unmap end %s", step);
	printf("%s %lu\n", step, (unsigned long)(end_ns - begin_ns));
	if (by_slot)
		set_slot(1, DATA_IPA, memory, bytes);
}

int main(int argc, char **argv)
{
	const char *backing = "4k";
	int option, by_slot = 0, repeats = 8;
	char step[64];

	while ((option = getopt(argc, argv, "b:mn:")) != -1)
		switch (option) {
		case 'b': backing = optarg; break;
		case 'm': by_slot = 1; break;
		case 'n': repeats = atoi(optarg); break;
		default: return 64;
		}
	marker = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
	create_vm();
	for (; optind < argc; optind++) {
		size_t bytes = strtod(argv[optind], NULL) * (1 << 20);
		char *memory = data(bytes, backing);

		snprintf(step, sizeof(step), "%s-%zuK", backing, bytes >> 10);
		set_slot(1, DATA_IPA, memory, bytes);
		for (int i = 0; i < repeats; i++)
			unmap(step, memory, bytes, by_slot);
		set_slot(1, DATA_IPA, memory, 0);
		munmap(memory, bytes);
	}
	return 0;
}
