/*
 * slot: start and stop the dirty log of memory slots, of which the start flushes the whole range of the slot.
 *
 *	slot ID SIZE_MIB...
 *
 * For each size a slot at IPA 16 GiB, backed by memory that nobody touches (8 GiB need no 8 GiB), KVM_MEM_LOG_DIRTY_PAGES
 * set, between two lines of trace_marker, "lab begin ID.N ..." and "lab end ID.N" (docs/steps.md), then the slot goes. No
 * vCPU: nothing is mapped, and kvm_mmu_wp_memory_region() flushes all the same (arch/arm64/kvm/mmu.c, 6.12). It calls
 * __kvm_tlb_flush_vmid_range once per 2^21 pages, 8 GiB with 4K pages.
 * One line of JSON per slot: what its flush was asked for. KVM API: Documentation/virt/kvm/api.rst.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* With LPA2 the base of a range operation counts 64 KiB: 0x40000, as in the operand that e3ba51ab24fd reports. */
#define IPA (16ul << 30)

static void set_slot(int vm, const void *memory, uint64_t bytes, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = 0, .flags = flags, .guest_phys_addr = IPA, .memory_size = bytes, .userspace_addr = (uintptr_t)memory,
	};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		err(1, "KVM_SET_USER_MEMORY_REGION, %lu bytes", (unsigned long)bytes);
}

static void log_dirty_pages(int vm, int marker, const char *step, uint64_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "%lu bytes", (unsigned long)bytes);
	set_slot(vm, memory, bytes, 0);
	if (marker >= 0)
		dprintf(marker, "lab begin %s dirty log of %lu MiB", step, (unsigned long)(bytes >> 20));
	set_slot(vm, memory, bytes, KVM_MEM_LOG_DIRTY_PAGES);
	if (marker >= 0)
		dprintf(marker, "lab end %s", step);
	printf("{\"id\": \"%s\", \"action\": \"dirtylog-on\", \"ipa\": \"%#lx\", \"bytes\": %lu}\n", step, IPA,
	       (unsigned long)bytes);
	set_slot(vm, memory, 0, 0);
	munmap(memory, bytes);
}

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int marker = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	char step[64];

	if (argc < 3)
		return 64;
	if (vm < 0)
		err(1, "/dev/kvm");
	for (int n = 2; n < argc; n++) {
		snprintf(step, sizeof(step), "%s.%d", argv[1], n - 1);
		log_dirty_pages(vm, marker, step, strtoull(argv[n], NULL, 0) << 20);
	}
	return 0;
}
