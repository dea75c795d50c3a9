/* SPDX-License-Identifier: MIT OR Apache-2.0
 * What the binder knows of x86-64: docs/site-abi.md, "x86-64". System calls: Linux, arch/x86/entry/syscalls/syscall_64.tbl. */
enum { MACHINE = 62, SHORTEST = 10, LONGEST = 16, TARGET = 1 };	/* bytes of a site, and of what is at its target */
enum { SYS_write = 1, SYS_close = 3, SYS_lseek = 8, SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_rt_sigprocmask = 14, SYS_pread64 = 17, SYS_msync = 26, SYS_madvise = 28, SYS_fcntl = 72,
       SYS_mlock = 149, SYS_openat = 257, SYS_prlimit64 = 302, SYS_memfd_create = 319, SYS_statx = 332 };

static long system_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}

/* Whether slice requests can go there: two bytes of an area that is not at -2^31, or of its place (x86-64 TLS ABI; glibc, sysdeps/x86_64/nptl/tls.h). */
static int is_request(uint32_t request)
{
	int32_t offset = (int32_t)place(request);
	return request > 28 && (offset < -4 || offset >= 704 + 28) && (offset - 28) % 32 == 0;
}

static int reaches(uintptr_t from, uintptr_t to, unsigned bits) { return (to - from + (1ULL << (bits - 1))) >> bits == 0; }	/* by a displacement */

/* Both forms of a record's site, for a key that has this value; 0 if there are none. */
static int forms(const struct site_record *r, uint8_t value, uint32_t request, code *checked, code *bound)
{
	uintptr_t at = invar_at(&r->site), target = invar_at(&r->target), state = invar_at(&r->state);
	/* The first instruction has prefixes, and as many bytes as the compare; the second jumps, or is a nop as long. */
	unsigned prefixes = r->kind == BRANCH ? 1 : r->kind == SLICE_ENTER ? 3 : 2, first = prefixes + 7, far = r->length == first + 6u;
	code to = (uint32_t)(target - at - r->length), nop = far ? 0x441f0f66 : 0x9066, where = (code)place(request) << 40;
	if ((r->length != first + 2 && !far) || !reaches(at + first, state, 32) || !reaches(at + r->length, target, far ? 32 : 8) ||
	    (r->kind == BRANCH && value != r->value && !reaches(at + 6, target, 32)))
		return 0;
#define JUMP(near, long) ((far ? (long) | to << 16 : (near) | (to & 0xff) << 8) << 8 * first)
	*checked = (0x406666 >> 8 * (3 - prefixes)) | (0x3d80 | (code)(uint32_t)(state - at - first) << 16 | (code)r->value << 48) << 8 * prefixes | JUMP(0x75, 0x850f);
	if (value == r->value)
		*bound = (r->kind == BRANCH ? 0x801f0f40 : (0x6666 >> 8 * (3 - prefixes)) | 0x841f0fULL << 8 * (prefixes - 1)) | nop << 8 * first;
	else if (r->kind == BRANCH) *bound = 0xe940 | (code)(uint32_t)(target - at - 6) << 16 | (code)0x9066 << 48 | JUMP(0xeb, 0xe940);
	else if (r->kind == SLICE_ENTER) *bound = 0x2504c66466 | where | (code)1 << 72 | nop << 8 * first;
	else
		*bound = 0x252cd06466 | where | JUMP(0x73, 0x830f);
	return r->kind == BRANCH || value == r->value || request;
}

/* Nothing stands out of line. */
static int has_check(const struct site_record *r, uintptr_t *readable) { (void)r, (void)readable; return 1; }

/* Has the CPU execute what was written; other CPUs do, as nothing is written where they are. */
static void synchronise(long first, long size)
{
	(void)first, (void)size;
	__asm__ volatile("xorl %%eax, %%eax\n\tcpuid" : : : "rax", "rbx", "rcx", "rdx", "memory");
}

/* Where 256 bytes of code are that can be executed anywhere: mremap, and mmap of the file where that has left nothing. */
#define EXCHANGE_CODE(at) \
	__asm__("leaq 1f(%%rip), %0\n\tjmp 5f\n\t.balign 256\n1:\tpushq %%rbx\n\tpushq %%rbp\n\tpushq %%r12\n\tmovq %%rcx, %%rbx\n\tmovq %%rdi, %%rbp\n\t"\
		"movq %%r8, %%r9\n\tmovq %%rdx, %%r8\n\tmovl $100 /* tries */, %%r12d\n2:\tmovq %%rbp, %%rdi\n\tmovq %%rsi, %%rdx\n\t"\
		"movl $3 /* MAYMOVE | FIXED */, %%r10d\n\tmovl $25 /* mremap */, %%eax\n\tsyscall\n\tcmpq %%r8, %%rax\n\tje 3f\n\tcmpl $100, %%r12d\n\tjne 4f\n\tdecl %%r12d\n\tjmp 2b\n4:\t"\
		"pushq %%rax\n\tmovq %%r8, %%rdi\n\tmovl $5 /* READ | EXEC */, %%edx\n\tmovl $0x100002 /* PRIVATE | FIXED_NOREPLACE */, %%r10d\n\t"\
		"movq %%rbx, %%r8\n\tmovl $9 /* mmap */, %%eax\n\tsyscall\n\tmovq %%rdi, %%r8\n\tmovq %%rax, %%rcx\n\tpopq %%rax\n\t"\
		"cmpq %%r8, %%rcx\n\tje 3f\n\tcmpq $-17 /* EEXIST */, %%rcx\n\tje 3f\n\tcmpq $-4095, %%rcx\n\tjb 6f\n\tdecl %%r12d\n\tjnz 2b\n\tjmp 3f\n6:\tpushq %%rax\n\t"\
		"movq %%rcx, %%rdi\n\tmovl $11 /* munmap */, %%eax\n\tsyscall\n\tpopq %%rax\n3:\tpopq %%r12\n\tpopq %%rbp\n\tpopq %%rbx\n\tret\n\t.org 1b + 256, 0xcc\n5:" : "=r"(at));

/* Calls the code at `here`: below the red zone, and by no pointer, of which control-flow integrity would ask. */
static long by_code(long here, long what, long size, long to, long by, long offset)
{
	long result;
	register long r8 __asm__("r8") = offset;
	__asm__ volatile("addq $-128, %%rsp\n\tcall *%%rax\n\tsubq $-128, %%rsp" : "=a"(result), "+D"(what), "+d"(to), "+c"(by), "+r"(r8) : "0"(here), "S"(size) : "r9", "r10", "r11", "memory");
	return result;
}
