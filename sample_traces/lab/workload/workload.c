/*
 * workload: one VM whose memory is mapped and unmapped in one known way, with ground truth.
 *
 *	workload -i ID -a ACTION [-b 4k|thp|hugetlb] [-s SIZE] [-c CHUNK] [-n TIMES] [-p CPU] [-q]
 *
 * The guest writes to every page (half: to every other one), then ACTION takes them back:
 *
 *	dontneed   madvise(MADV_DONTNEED) of all		munmap     munmap(2)
 *	chunks     the same, CHUNK by CHUNK			mprotect   mprotect(PROT_NONE)
 *	sparse     the same, every other CHUNK			move       mremap(MREMAP_DONTUNMAP)
 *	half       the same of all, every other page is a hole	dirtylog   write protection, all written again, DONTNEED
 *	memslot    deletion of the memory slot			destroy    close of the VM
 *	storm      DONTNEED of a CHUNK while the vCPU writes	exit       nothing: the process ends
 *
 * Each step stands between two lines of trace_marker, "lab begin ID.N ..." and "lab end ID.N" (docs/steps.md; -q: none),
 * and is one JSON line of standard output, which is also a line of a step file:
 *
 *	unmaps		calls of kvm_pgtable_stage2_unmap that find something; one call per range that the kernel is told of
 *	empty_unmaps	further calls that find nothing: where munmap and mprotect split the mapping within a block, the kernel
 *			first tells of the whole block (__split_huge_pmd()); null: not known (hugetlb: 6.1 tells twice, 6.12 once)
 *	leaves, tables	entries cleared and table pages freed by the unmaps, by level; null where the vCPU writes meanwhile
 *
 * The page is the host's. 40 bits of IPA (machine type 0): the root is level 1 with 4K pages, level 2 with 16K and 64K, and
 * table pages below it are freed when their last entry goes (arch/arm64/kvm/hyp/pgtable.c, stage2_unmap_walker()).
 * KVM API: Documentation/virt/kvm/api.rst (6.12). Exit status: 0; 1: something failed, also said as {"id", "error"}.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CODE_SLOT, DATA_SLOT };
static const uint64_t CODE_IPA = 0x01000000, LEAVE_IPA = 0x02000000, DATA_IPA = 0x80000000;

/* x0: first, x1: end, x2: step, x3: where nothing is mapped */
extern const char guest_code[], guest_code_end[];
asm(".pushsection .rodata; .balign 4\n"
    ".globl guest_code, guest_code_end\n"
    "guest_code:\n"
    "	nop\n"			/* a store that left KVM_RUN is skipped when it is entered again */
    "0:	str	x0, [x0]\n"
    "	add	x0, x0, x2\n"
    "	cmp	x0, x1\n"
    "	b.lo	0b\n"
    "	str	wzr, [x3]\n"
    "1:	b	1b\n"
    "guest_code_end: .popsection\n");

static struct { const char *id, *action, *backing; uint64_t bytes, chunk; int times, cpu; bool quiet; } o = {
	.id = "-", .action = "dontneed", .backing = "4k", .bytes = 2 << 20, .times = 1, .cpu = -1,
};
static uint64_t page, block;	/* bytes of a leaf at level 3 and at level 2 */
static int vm_fd, vcpu_fd, marker_fd = -1;
static struct kvm_run *run;
static size_t run_bytes;
static char *data;

static void fail(const char *what)
{
	int error = errno;

	fprintf(stderr, "workload: %s: %s\n", what, strerror(error));
	printf("{\"id\": \"%s\", \"error\": \"%s: %s\"}\n", o.id, what, strerror(error));
	exit(1);
}

static int ask(int fd, unsigned long request, uintptr_t argument, const char *what)
{
	int answer = ioctl(fd, request, argument);

	if (answer < 0)
		fail(what);
	return answer;
}

/* ---- the model of the stage-2 table: what is mapped, at which level ---- */

static uint8_t *level_of;	/* of each page of the data: 0 is unmapped */
static struct found { uint64_t unmaps, leaves[4], tables[4]; } found;

static uint64_t mapped_in(uint64_t offset, uint64_t bytes)
{
	uint64_t pages = 0;

	for (uint64_t n = offset / page; n < (offset + bytes) / page && n < o.bytes / page; n++)
		pages += level_of[n] != 0;
	return pages;
}

static void model_map(uint64_t stride, int level)
{
	for (uint64_t n = 0; n < o.bytes / page; n += level == 2 ? 1 : stride / page)
		level_of[n] = level;
}

/* Clears what lies in one block-sized region; what was there decides what goes. */
static void model_unmap_region(uint64_t region, uint64_t from, uint64_t to)
{
	int level = 0;

	for (uint64_t n = from / page; n < to / page; n++)
		if (level_of[n]) {
			level = level_of[n];
			found.leaves[3] += level == 3;
			level_of[n] = 0;
		}
	found.leaves[2] += level == 2;
	found.tables[3] += level == 3 && !mapped_in(region, block);
}

/* One call of the kernel's unmap: told before it is done, so that the step's time is the kernel's. */
static void model_unmap(uint64_t offset, uint64_t bytes)
{
	const uint64_t gib = UINT64_C(1) << 30, end = offset + bytes;

	found.unmaps += mapped_in(offset, bytes) != 0;
	for (uint64_t at = offset / gib * gib; at < end; at += gib) {
		uint64_t first = at < offset ? offset / block * block : at;
		bool had = mapped_in(at, gib);

		for (uint64_t region = first; region < end && region < at + gib; region += block)
			model_unmap_region(region, region < offset ? offset : region,
					   region + block < end ? region + block : end);
		found.tables[2] += page == 4096 && had && !mapped_in(at, gib);
	}
}

/* ---- the VM ---- */

static void slot(int number, uint64_t ipa, void *memory, uint64_t bytes, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = number, .flags = flags, .guest_phys_addr = ipa, .memory_size = bytes,
		.userspace_addr = (uintptr_t)memory,
	};

	ask(vm_fd, KVM_SET_USER_MEMORY_REGION, (uintptr_t)&region, "KVM_SET_USER_MEMORY_REGION");
}

static void core_register(size_t offset, uint64_t value)
{
	struct kvm_one_reg one = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / sizeof(uint32_t),
		.addr = (uintptr_t)&value,
	};

	ask(vcpu_fd, KVM_SET_ONE_REG, (uintptr_t)&one, "KVM_SET_ONE_REG");
}

static void guest_writes(uint64_t stride)
{
	const uint64_t x[] = { DATA_IPA, DATA_IPA + o.bytes, stride, LEAVE_IPA };

	for (size_t n = 0; n < sizeof(x) / sizeof(*x); n++)
		core_register(offsetof(struct kvm_regs, regs.regs[n]), x[n]);
	core_register(offsetof(struct kvm_regs, regs.pc), CODE_IPA);
	while (ioctl(vcpu_fd, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			fail("KVM_RUN");
	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != LEAVE_IPA) {
		errno = EPROTO;
		fail("the guest left elsewhere");
	}
}

static void create_vm(void)
{
	struct kvm_vcpu_init target = { 0 };
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char *code = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (kvm_fd < 0 || code == MAP_FAILED)
		fail("/dev/kvm");
	memcpy(code, guest_code, guest_code_end - guest_code);
	__builtin___clear_cache(code, code + page);
	vm_fd = ask(kvm_fd, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	slot(CODE_SLOT, CODE_IPA, code, page, 0);
	vcpu_fd = ask(vm_fd, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
	run_bytes = ask(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
	run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
	if (run == MAP_FAILED)
		fail("mmap of the vCPU");
	ask(vm_fd, KVM_ARM_PREFERRED_TARGET, (uintptr_t)&target, "KVM_ARM_PREFERRED_TARGET");
	ask(vcpu_fd, KVM_ARM_VCPU_INIT, (uintptr_t)&target, "KVM_ARM_VCPU_INIT");
}

static void destroy_vm(void)
{
	munmap(run, run_bytes);
	close(vcpu_fd);
	close(vm_fd);
}

/* Aligned to a block, so that the backing decides what the leaves are. */
static void create_data(void)
{
	bool huge = !strcmp(o.backing, "hugetlb"), thp = !strcmp(o.backing, "thp");
	int flags = huge ? MAP_HUGETLB | __builtin_ctzll(block) << 26 : 0;
	uint64_t bytes = (o.bytes + block - 1) & -block;

	data = mmap(NULL, bytes + block, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
	if (data == MAP_FAILED)
		fail("memory");
	data = (char *)(((uintptr_t)data + block - 1) & -block);
	if (!huge && madvise(data, bytes, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		fail("MADV_HUGEPAGE");
	level_of = calloc(o.bytes / page, 1);
	if (!level_of)
		fail("memory");
}

/* Transparent huge pages are a hope: a step that got none would be false. */
static void require_huge_pages(void)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	unsigned long from = 0, to = 0, kb = 0, sum = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx ", &from, &to) != 2 && from < (uintptr_t)data + o.bytes && to > (uintptr_t)data &&
		    sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			sum += kb;
	if (maps)
		fclose(maps);
	if (sum * 1024 < o.bytes) {
		errno = ENOMEM;
		fail("transparent huge pages");
	}
}

static void map_all(void)
{
	uint64_t stride = strcmp(o.action, "half") ? page : 2 * page;

	guest_writes(stride);
	if (!strcmp(o.backing, "thp"))
		require_huge_pages();
	model_map(stride, strcmp(o.backing, "4k") ? 2 : 3);
}

/* ---- steps ---- */

static struct { unsigned number; const char *action; uint64_t offset, bytes, mono_ns, boot_ns; int calls; } step;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static void mark(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	/* EBADF: nothing is recorded there (tracing_on is 0) */
	if (marker_fd >= 0 && vdprintf(marker_fd, format, arguments) < 0 && errno != EBADF)
		fail("trace_marker");
	va_end(arguments);
}

static void begin(const char *action, uint64_t offset, uint64_t bytes)
{
	step.number++;
	step.action = action;
	step.offset = offset;
	step.bytes = bytes;
	step.calls = 1;
	mark("lab begin %s.%u %s backing=%s ipa=0x%" PRIx64 " bytes=%" PRIu64, o.id, step.number, action, o.backing,
	     DATA_IPA + offset, bytes);
	step.boot_ns = now_ns(CLOCK_BOOTTIME);
	step.mono_ns = now_ns(CLOCK_MONOTONIC);
}

static void print_levels(const char *name, const uint64_t *count)
{
	const char *between = "";

	printf(", \"%s\": {", name);
	for (int level = 2; level <= 3; level++)
		if (count[level]) {
			printf("%s\"%d\": %" PRIu64, between, level, count[level]);
			between = ", ";
		}
	printf("}");
}

static bool concurrent;	/* the vCPU writes meanwhile: nobody knows what an unmap finds */

/* *empty*: further unmaps that find nothing */
static void end(int empty)
{
	uint64_t mono_ns = now_ns(CLOCK_MONOTONIC), boot_ns = now_ns(CLOCK_BOOTTIME);

	mark("lab end %s.%u", o.id, step.number);
	printf("{\"id\": \"%s.%u\", \"clock\": \"mono\", \"begin_ns\": %" PRIu64 ", \"end_ns\": %" PRIu64 ", \"tid\": %ld, "
	       "\"cpu\": %d, \"boot_begin_ns\": %" PRIu64 ", \"boot_end_ns\": %" PRIu64 ", \"action\": \"%s\", "
	       "\"backing\": \"%s\", \"page_bytes\": %" PRIu64 ", \"ipa\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"calls\": %d",
	       o.id, step.number, step.mono_ns, mono_ns, syscall(SYS_gettid), sched_getcpu(), step.boot_ns, boot_ns,
	       step.action, o.backing, page, DATA_IPA + step.offset, step.bytes, step.calls);
	if (concurrent) {
		printf(", \"unmaps\": %d, \"empty_unmaps\": null, \"leaves\": null, \"tables\": null}\n", step.calls);
	} else {
		printf(", \"unmaps\": %" PRIu64 ", \"empty_unmaps\": ", found.unmaps);
		if (found.unmaps && !strcmp(o.backing, "hugetlb"))
			printf("null");
		else
			printf("%d", empty);
		print_levels("leaves", found.leaves);
		print_levels("tables", found.tables);
		printf("}\n");
	}
	fflush(stdout);
	memset(&found, 0, sizeof(found));
}

static void dontneed(uint64_t offset, uint64_t bytes)
{
	if (madvise(data + offset, bytes, MADV_DONTNEED))
		fail("MADV_DONTNEED");
}

static void whole_dontneed(void)
{
	model_unmap(0, o.bytes);
	begin(o.action, 0, o.bytes);
	dontneed(0, o.bytes);
	end(0);
}

static void by_chunks(void)
{
	uint64_t stride = strcmp(o.action, "sparse") ? o.chunk : 2 * o.chunk;

	for (uint64_t offset = 0; offset < o.bytes; offset += stride)
		model_unmap(offset, o.chunk);
	begin(o.action, 0, o.bytes);
	for (uint64_t offset = 0; offset < o.bytes; offset += stride)
		dontneed(offset, o.chunk);
	step.calls = (o.bytes + stride - 1) / stride;
	end(0);
}

static void delete_slot(void)
{
	model_unmap(0, o.bytes);
	begin(o.action, 0, o.bytes);
	slot(DATA_SLOT, DATA_IPA, data, 0, 0);
	end(0);
	slot(DATA_SLOT, DATA_IPA, data, o.bytes, 0);
}

static void take_back(void)
{
	bool move = !strcmp(o.action, "move"), protect = !strcmp(o.action, "mprotect");
	int failed;

	model_unmap(0, o.bytes);
	begin(o.action, 0, o.bytes);
	if (move)
		failed = mremap(data, o.bytes, o.bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) == MAP_FAILED;
	else
		failed = protect ? mprotect(data, o.bytes, PROT_NONE) : munmap(data, o.bytes);
	if (failed)
		fail(o.action);
	end(!move && o.bytes % block);
	if (protect && mprotect(data, o.bytes, PROT_READ | PROT_WRITE))
		fail("mprotect");
}

static void log_dirty_pages(void)
{
	begin("dirtylog-on", 0, o.bytes);
	slot(DATA_SLOT, DATA_IPA, data, o.bytes, KVM_MEM_LOG_DIRTY_PAGES);
	end(0);
	begin("dirtylog-write", 0, o.bytes);
	guest_writes(page);
	model_map(page, 3);	/* writes split the blocks */
	end(0);
	model_unmap(0, o.bytes);
	begin("dirtylog-dontneed", 0, o.bytes);
	dontneed(0, o.bytes);
	end(0);
	slot(DATA_SLOT, DATA_IPA, data, o.bytes, 0);
}

static volatile bool stop;

static void *vcpu_thread(void *unused)
{
	prctl(PR_SET_NAME, "vcpu0");
	while (!stop)
		guest_writes(page);
	return unused;
}

static void storm(void)
{
	pthread_t thread;

	map_all();
	concurrent = true;
	if (pthread_create(&thread, NULL, vcpu_thread, NULL))
		fail("pthread_create");
	for (int n = 0; n < o.times; n++) {
		uint64_t offset = n * o.chunk % o.bytes;

		usleep(3000);
		begin(o.action, offset, o.chunk);
		if (madvise(data + offset, o.chunk, MADV_DONTNEED))
			fail("MADV_DONTNEED");
		end(0);
	}
	stop = true;
	pthread_join(thread, NULL);
	concurrent = false;
}

static const struct { const char *name; void (*act)(void); bool once; } actions[] = {
	{ "dontneed", whole_dontneed, false }, { "half", whole_dontneed, false }, { "chunks", by_chunks, false },
	{ "sparse", by_chunks, false }, { "memslot", delete_slot, false }, { "mprotect", take_back, false },
	{ "munmap", take_back, true }, { "move", take_back, true }, { "dirtylog", log_dirty_pages, false },
	{ "destroy", NULL, true }, { "exit", NULL, true },
};

static void act(void)
{
	for (size_t n = 0; n < sizeof(actions) / sizeof(*actions); n++) {
		if (strcmp(actions[n].name, o.action))
			continue;
		for (int i = 0; i < (actions[n].once ? 1 : o.times); i++) {
			map_all();
			if (actions[n].act)
				actions[n].act();
		}
		return;
	}
	errno = EINVAL;
	fail(o.action);
}

/* ---- the command line ---- */

static uint64_t size(const char *text)
{
	char *unit;
	uint64_t value = strtoull(text, &unit, 0);

	return value << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : *unit == 'G' ? 30 : 0);
}

static void options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "i:a:b:s:c:n:p:q")) != -1)
		switch (option) {
		case 'i': o.id = optarg; break;
		case 'a': o.action = optarg; break;
		case 'b': o.backing = optarg; break;
		case 's': o.bytes = size(optarg); break;
		case 'c': o.chunk = size(optarg); break;
		case 'n': o.times = atoi(optarg); break;
		case 'p': o.cpu = atoi(optarg); break;
		case 'q': o.quiet = true; break;
		default: exit(64);
		}
	page = sysconf(_SC_PAGESIZE);
	block = page * page / 8;
	if (!o.chunk)
		o.chunk = page;
	errno = EINVAL;
	if (!o.bytes || o.bytes % (strcmp(o.backing, "4k") ? block : page))
		fail("the size is no multiple of a leaf");
	if (o.chunk % page || o.chunk > o.bytes || (strcmp(o.backing, "4k") && o.chunk != page && o.chunk % block))
		fail("the chunk is no multiple of a leaf");
}

int main(int argc, char **argv)
{
	cpu_set_t one;

	options(argc, argv);
	CPU_ZERO(&one);
	if (o.cpu >= 0)
		CPU_SET(o.cpu, &one);
	if (o.cpu >= 0 && sched_setaffinity(0, sizeof(one), &one))
		fail("sched_setaffinity");
	if (!o.quiet)
		marker_fd = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
	create_vm();
	create_data();
	slot(DATA_SLOT, DATA_IPA, data, o.bytes, 0);
	if (!strcmp(o.action, "storm"))
		storm();
	else
		act();
	if (!strcmp(o.action, "exit")) {
		begin(o.action, 0, o.bytes);
		end(0);
		return 0;
	}
	begin("destroy", 0, strcmp(o.action, "destroy") ? 0 : o.bytes);
	destroy_vm();
	end(0);
	return 0;
}
