/* SPDX-License-Identifier: MIT OR Apache-2.0
 * What the binder knows of RISC-V, of 64 bits. Encodings: The RISC-V Instruction Set Manual, volume I, chapters 2.2 to 2.6. */
enum { MACHINE = 243 };
#define NOP 0x13u

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
	register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c, a3 __asm__("a3") = d, a4 __asm__("a4") = e, a5 __asm__("a5") = f;
	__asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
	return a0;
}

/* jal zero: as far as 1 MiB. */
static uint32_t jump(uintptr_t from, uintptr_t to)
{
	uint32_t on = (uint32_t)(to - from);
	return on % 4 || (to - from + (1UL << 20)) >> 21 ? 0 : 0x6f | (on >> 20 & 1) << 31 | (on >> 1 & 0x3ff) << 21 | (on >> 11 & 1) << 20 | (on >> 12 & 0xff) << 12;
}

/* auipc t6, state; lbu t6, state(t6); li t5, value; bne t5, t6, . + 8. The load's part of the distance has a sign. */
static int compare(uintptr_t at, uintptr_t state, uint8_t value, uint32_t *code_there)
{
	uint32_t on = (uint32_t)(state - at), high = (on + 0x800) & 0xfffff000;
	code_there[0] = 0xf97 | high;
	code_there[1] = 0xfcf83 | (on - high) << 20;
	code_there[2] = 0xf13 | (uint32_t)value << 20;
	code_there[3] = 0x1ff1463;
	return (state - at + 0x800 + (1UL << 31)) >> 32 == 0;
}

/* How many instructions a site has. */
static unsigned words(uint8_t kind) { return kind == BRANCH ? 1 : kind == SLICE_ENTER ? 2 : 4; }

/* li t6, 1; sb t6, request(tp). Or sb zero, request(tp); lbu t6, request + 1(tp); beqz t6, . + 8, behind which is a jump. As far as 2 KiB. */
static int requests(uint8_t kind, int32_t where, half *code_there)
{
	uint32_t store = 0x20023 | ((uint32_t)where >> 5 & 0x7f) << 25 | ((uint32_t)where & 0x1f) << 7;
	code_there[0] = kind == SLICE_ENTER ? 0x100f93 : store;
	code_there[1] = kind == SLICE_ENTER ? store | 31 << 20 : 0x24f83 | ((uint32_t)where + 1) << 20;
	if (kind == SLICE_LEAVE) code_there[2] = 0xf8463;
	return where >= -0x800 && where + (kind == SLICE_LEAVE) < 0x800;
}

/* Whether slice requests can go there: two bytes of an area at or above the thread pointer (RISC-V ELF psABI, "Thread Local Storage"). */
static int is_request(uint32_t request)
{
	int32_t area = (int32_t)(place(request) - 28);
	return area >= 0 && area % 32 == 0;
}

static int same(const volatile void *memory, const void *bytes, size_t length);
#include "jump.h"

/* Has all CPUs execute what was written: by the kernel, since no program may rely on fence.i (Documentation/arch/riscv/cmodx.rst). */
static void synchronise(long first, long size)
{
	system_call(259 /* riscv_flush_icache */, first, first + size, 0 /* all threads */, 0, 0, 0);
}

/* Where 256 bytes of code are that can be executed anywhere: mremap, and mmap of the file where that has left nothing. As arch/riscv64/exchange.rs. */
/* Aligned while that is still allowed, for linkers that make the code before it shorter. */
#define EXCHANGE_CODE(at) \
	__asm__("lla %0, 1f\n\tj 5f\n\t.balign 256\n\t.option push\n\t.option norelax\n\t.option norvc\n1:\tmv t0, a0\n\tmv t1, a1\n\tmv t2, a2\n\tmv t3, a3\n\tmv t4, a4\n\tli t5, 100 /* tries */\n2:\t" \
		"mv a0, t0\n\tmv a1, t1\n\tmv a2, t1\n\tli a3, 3 /* MAYMOVE | FIXED */\n\tmv a4, t2\n\tli a7, 216 /* mremap */\n\tecall\n\tbeq a0, t2, 3f\n\t" \
		"li a6, 100\n\tbne t5, a6, 4f\n\taddi t5, t5, -1\n\tj 2b\n4:\tmv t6, a0\n\tmv a0, t2\n\tmv a1, t1\n\tli a2, 5 /* READ | EXEC */\n\tlui a3, 0x100 /* FIXED_NOREPLACE */\n\t" \
		"addi a3, a3, 2 /* PRIVATE */\n\tmv a4, t3\n\tmv a5, t4\n\tli a7, 222 /* mmap */\n\tecall\n\tmv a6, a0\n\tmv a0, t6\n\tbeq a6, t2, 3f\n\t" \
		"li a5, -17 /* EEXIST */\n\tbeq a6, a5, 3f\n\tlui a5, 0xfffff\n\taddi a5, a5, 1\n\tbltu a6, a5, 6f\n\taddi t5, t5, -1\n\tbnez t5, 2b\n\tj 3f\n6:\tmv a0, a6\n\tmv a1, t1\n\tli a7, 215 /* munmap */\n\tecall\n\t" \
		"mv a0, t6\n3:\tret\n\t.org 1b + 256\n5:\n\t.option pop" : "=r"(at))

/* Calls the code at `here`, by no pointer, of which control-flow integrity would ask. */
APART static long by_code(long here, long what, long size, long to, long by, long offset)
{
	register long a0 __asm__("a0") = what, a1 __asm__("a1") = size, a2 __asm__("a2") = to, a3 __asm__("a3") = by, a4 __asm__("a4") = offset;
	__asm__ volatile("jalr %5" : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+r"(a4) : "r"(here) : "a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "ra", "memory");
	return a0;
}
