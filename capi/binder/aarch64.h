/* SPDX-License-Identifier: MIT OR Apache-2.0
 * What the binder knows of AArch64. Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C6.2. */
enum { MACHINE = 183 };
#define NOP 0xd503201fu

/* In functions that are called: the kernel forgets the upper parts of vector registers, and so does a call, for the compiler (the machine's
 * procedure call standard), unless it looks into the function. */
#if defined __has_attribute
#if __has_attribute(noipa)
#define APART __attribute__((noipa))
#endif
#endif
#ifndef APART
#define APART __attribute__((noinline))
#endif

APART static long system_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
	return x0;
}

/* b: as far as 128 MiB. */
static uint32_t jump(uintptr_t from, uintptr_t to)
{
	return (to - from) % 4 || (to - from + (1UL << 27)) >> 28 ? 0 : 0x14000000 | ((uint32_t)(to - from) >> 2 & 0x3ffffff);
}

/* adrp x16, state; ldrb w16, [x16, state]; sub w16, w16, value; cbnz w16, . + 8. */
static int compare(uintptr_t at, uintptr_t state, uint8_t value, uint32_t *code_there)
{
	uintptr_t pages = (state >> 12) - (at >> 12);
	code_there[0] = 0x90000010 | (uint32_t)(pages & 3) << 29 | (uint32_t)(pages >> 2 & 0x7ffff) << 5;
	code_there[1] = 0x39400210 | (uint32_t)(state & 0xfff) << 10;
	code_there[2] = 0x51000210 | (uint32_t)value << 10;
	code_there[3] = 0x35000050;
	return (pages + (1UL << 20)) >> 21 == 0;
}

/* How many instructions a site has. None has a form that makes a request. */
static unsigned words(uint8_t kind) { (void)kind; return 1; }
static int requests(uint8_t kind, int32_t where, half *code_there) { (void)kind, (void)where, (void)code_there; return 0; }
static int is_request(uint32_t request) { (void)request; return 0; }

static int same(const volatile void *memory, const void *bytes, size_t length);
#include "jump.h"

/* Has all CPUs execute what was written: caches of data and of instructions may differ (B2.7.4), as ctr_el0 tells, and a CPU may have fetched
 * ahead. */
static void synchronise(long first, long size)
{
	uint64_t type;
	__asm__ volatile("mrs %0, ctr_el0" : "=r"(type));
	uintptr_t start = (uintptr_t)first, end = start + (uintptr_t)size, data = 4UL << (type >> 16 & 15), instructions = 4UL << (type & 15);
	for (uintptr_t at = start & -data; !(type >> 28 & 1) && at < end; at += data) __asm__ volatile("dc cvau, %0" : : "r"(at) : "memory");
	__asm__ volatile("dsb ish" : : : "memory");
	for (uintptr_t at = start & -instructions; !(type >> 29 & 1) && at < end; at += instructions) __asm__ volatile("ic ivau, %0" : : "r"(at) : "memory");
	__asm__ volatile("dsb ish\n\tisb" : : : "memory");
	system_call(283 /* membarrier */, 1 << 6 /* REGISTER_PRIVATE_EXPEDITED_SYNC_CORE */, 0, 0, 0, 0, 0);
	system_call(283, 1 << 5 /* PRIVATE_EXPEDITED_SYNC_CORE */, 0, 0, 0, 0, 0);
}

/* Where 256 bytes of code are that can be executed anywhere: mremap, and mmap of the file where that has left nothing. As arch/aarch64/exchange.rs. */
#define EXCHANGE_CODE(at) \
	__asm__("adr %0, 1f\n\tb 5f\n\t.balign 256\n1:\thint #34 /* bti c */\n\tmov x9, x0\n\tmov x10, x1\n\tmov x11, x2\n\tmov x12, x3\n\tmov x13, x4\n\tmov w14, #100 /* tries */\n2:\t" \
		"mov x0, x9\n\tmov x1, x10\n\tmov x2, x10\n\tmov x3, #3 /* MAYMOVE | FIXED */\n\tmov x4, x11\n\tmov x8, #216 /* mremap */\n\tsvc #0\n\tcmp x0, x11\n\tb.eq 3f\n\t" \
		"cmp w14, #100\n\tb.ne 4f\n\tsub w14, w14, #1\n\tb 2b\n4:\tmov x15, x0\n\tmov x0, x11\n\tmov x1, x10\n\tmov x2, #5 /* READ | EXEC */\n\tmov w3, #2 /* PRIVATE */\n\t" \
		"movk w3, #0x10, lsl #16 /* FIXED_NOREPLACE */\n\tmov x4, x12\n\tmov x5, x13\n\tmov x8, #222 /* mmap */\n\tsvc #0\n\tmov x16, x0\n\tmov x0, x15\n\tcmp x16, x11\n\tb.eq 3f\n\t" \
		"cmn x16, #17 /* EEXIST */\n\tb.eq 3f\n\tcmn x16, #4095\n\tb.lo 6f\n\tsub w14, w14, #1\n\tcbnz w14, 2b\n\tb 3f\n6:\tmov x0, x16\n\tmov x1, x10\n\tmov x8, #215 /* munmap */\n\tsvc #0\n\t" \
		"mov x0, x15\n3:\tret\n\t.org 1b + 256\n5:" : "=r"(at))

/* Calls the code at `here`, by no pointer, of which control-flow integrity would ask. */
APART static long by_code(long here, long what, long size, long to, long by, long offset)
{
	register long x0 __asm__("x0") = what, x1 __asm__("x1") = size, x2 __asm__("x2") = to, x3 __asm__("x3") = by, x4 __asm__("x4") = offset;
	__asm__ volatile("blr %5" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4) : "r"(here) : "x5", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x30", "memory", "cc");
	return x0;
}
