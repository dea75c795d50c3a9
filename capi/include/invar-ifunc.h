/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Functions that the loader binds once, by what the CPU can do: IFUNC symbols (STT_GNU_IFUNC).
 *
 *	static void *copy_anywhere(void *to, const void *from, size_t length) { ... }
 *	__attribute__((target("avx2"))) static void *copy_avx2(void *to, const void *from, size_t length) { ... }
 *	__attribute__((target("avx512f"))) static void *copy_avx512(void *to, const void *from, size_t length) { ... }
 *
 *	INVAR_IFUNC(void *, mylib_copy, (void *to, const void *from, size_t length), (to, from, length),
 *		    copy_anywhere, avx2, copy_avx2, avx512f, copy_avx512);
 *
 * Callers declare mylib_copy like any function. Nothing else is needed: the variant is chosen without libinvar too. Where libinvar
 * is, its report has a key of the function's name. The key's value is the variant, and its evidence says of what sort the symbol is.
 *
 * The variant of an IFUNC is chosen before the object that has it is relocated, before constructors and, in a static program, before
 * there is a thread pointer. So the resolver makes raw system calls, asks cpuid, and calls no function outside of itself. It is kept
 * clear of sanitizers, stack protectors and profilers.
 *
 * It obeys INVAR=off and INVAR_KEYS=cpu.NAME=off as they were when the process was started. For that it reads /proc/self/environ:
 * once for each source file with an INVAR_IFUNC, by three system calls and one more for each two kilobytes of environment. Where
 * there are settings it does so for each function; and where they switch something off it reads /proc/self/auxv as well, by three
 * system calls. In a virtual machine each cpuid is an exit to the hypervisor.
 *
 * Where there is no IFUNC (musl, another architecture, or INVAR_NO_IFUNC defined), the function is an ordinary one. Libinvar binds
 * its branches in place. A constructor decides its key where libinvar does not. For a choice by anything but the CPU, as by a key
 * of your own whose probe calls libc, take INVAR_DISPATCH.
 *
 * A program that calls an IFUNC of a library must be linked with that library, so that the loader relocates the library before it.
 */
#ifndef INVAR_IFUNC_H
#define INVAR_IFUNC_H

#include <invar.h>

/* The C library must know R_X86_64_IRELATIVE: glibc does (2.11.1, sysdeps/x86_64/dl-irel.h), musl does not. */
#if INVAR_SITES && defined __x86_64__ && defined __GLIBC__ && !defined INVAR_NO_IFUNC
#define INVAR_IFUNCS 1
#else
#define INVAR_IFUNCS 0
#endif

/* Defines a function with external linkage, in C++ extern "C": INVAR_IFUNC(type, function, parameters, arguments, base, FEATURE,
 * variant, ...), with one to four variants, from the least demanding to the most. It is the last variant whose CPU feature is there,
 * or `base` where none is.
 *
 * FEATURE is the name of a cpu.* key of the runtime's, with _ in place of dots and dashes, as sse4_1 or x86_64_v3; another name does
 * not compile. Variants are static functions, or hidden ones. See to it that a variant needs no more than its feature. */
#define INVAR_IFUNC(type, function, parameters, arguments, ...) \
	INVAR_IFUNC_(INVAR_VARIANTS_(__VA_ARGS__, 4, ?, 3, ?, 2, ?, 1, ?, 0, ?), type, function, parameters, arguments, __VA_ARGS__)

/* Makes a key of the CPU feature, by which this source file then branches: invar_branch(cpu_FEATURE). Settings can turn it off as in
 * Rust: INVAR_KEYS=cpu.avx2=off. Stands once in each source file that needs it, or in a header that these include. FEATURE as above.
 *
 *	INVAR_CPU_KEY(avx2);
 *	INVAR_CPU_KEY(avx512bw);
 *	INVAR_DISPATCH(static, int, count, (const char *text), (text), cpu_avx512bw, count_avx512, cpu_avx2, count_avx2, count_anywhere);
 */
#define INVAR_CPU_KEY(feature) \
	INVAR_CPU_KEY_(invar_key_cpu_##feature, "cpu." INVAR_SECOND_(INVAR_DOTTED_##feature, #feature, 0) "\0off\0on", INVAR_CPU_##feature)

/* What stands behind the macros. No part of the interface. */

/* The features, as bits in the order of arch/x86_64/cpu.rs; those that begin otherwise have no key. */
#define INVAR_CPU_sse3 (UINT64_C(1) << 0)
#define INVAR_CPU_pclmulqdq (UINT64_C(1) << 1)
#define INVAR_CPU_ssse3 (UINT64_C(1) << 2)
#define INVAR_CPU_fma (UINT64_C(1) << 3)
#define INVAR_CPU_cmpxchg16b (UINT64_C(1) << 4)
#define INVAR_CPU_sse4_1 (UINT64_C(1) << 5)
#define INVAR_CPU_sse4_2 (UINT64_C(1) << 6)
#define INVAR_CPU_movbe (UINT64_C(1) << 7)
#define INVAR_CPU_popcnt (UINT64_C(1) << 8)
#define INVAR_CPU_aes (UINT64_C(1) << 9)
#define INVAR_CPU_xsave (UINT64_C(1) << 10)
#define INVAR_CPU_avx (UINT64_C(1) << 11)
#define INVAR_CPU_f16c (UINT64_C(1) << 12)
#define INVAR_CPU_bmi1 (UINT64_C(1) << 13)
#define INVAR_CPU_avx2 (UINT64_C(1) << 14)
#define INVAR_CPU_bmi2 (UINT64_C(1) << 15)
#define INVAR_CPU_ermsb (UINT64_C(1) << 16)
#define INVAR_CPU_avx512f (UINT64_C(1) << 17)
#define INVAR_CPU_avx512dq (UINT64_C(1) << 18)
#define INVAR_CPU_adx (UINT64_C(1) << 19)
#define INVAR_CPU_avx512cd (UINT64_C(1) << 20)
#define INVAR_CPU_sha (UINT64_C(1) << 21)
#define INVAR_CPU_avx512bw (UINT64_C(1) << 22)
#define INVAR_CPU_avx512vl (UINT64_C(1) << 23)
#define INVAR_CPU_avx512vbmi (UINT64_C(1) << 24)
#define INVAR_CPU_gfni (UINT64_C(1) << 25)
#define INVAR_CPU_vaes (UINT64_C(1) << 26)
#define INVAR_CPU_vpclmulqdq (UINT64_C(1) << 27)
#define INVAR_CPU_avx512vnni (UINT64_C(1) << 28)
#define INVAR_CPU_fsrm (UINT64_C(1) << 29)
#define INVAR_BIT_lahfsahf (UINT64_C(1) << 30)
#define INVAR_CPU_lzcnt (UINT64_C(1) << 31)
#define INVAR_BIT_sse (UINT64_C(1) << 32)
#define INVAR_BIT_sse2 (UINT64_C(1) << 33)
#define INVAR_BIT_fxsr (UINT64_C(1) << 34)
#define INVAR_CPU_rdrand (UINT64_C(1) << 35)
#define INVAR_CPU_rdseed (UINT64_C(1) << 36)
#define INVAR_CPU_sse4a (UINT64_C(1) << 37)
#define INVAR_CPU_tbm (UINT64_C(1) << 38)
#define INVAR_CPU_avx512ifma (UINT64_C(1) << 39)
#define INVAR_CPU_avx512vbmi2 (UINT64_C(1) << 40)
#define INVAR_CPU_avx512bitalg (UINT64_C(1) << 41)
#define INVAR_CPU_avx512vpopcntdq (UINT64_C(1) << 42)
#define INVAR_CPU_avx512vp2intersect (UINT64_C(1) << 43)
#define INVAR_CPU_avx512fp16 (UINT64_C(1) << 44)
#define INVAR_CPU_avx512bf16 (UINT64_C(1) << 45)
#define INVAR_CPU_avxvnni (UINT64_C(1) << 46)
#define INVAR_CPU_avxifma (UINT64_C(1) << 47)
#define INVAR_CPU_avxvnniint8 (UINT64_C(1) << 48)
#define INVAR_CPU_avxneconvert (UINT64_C(1) << 49)
#define INVAR_CPU_avxvnniint16 (UINT64_C(1) << 50)
#define INVAR_CPU_sha512 (UINT64_C(1) << 51)
#define INVAR_CPU_sm3 (UINT64_C(1) << 52)
#define INVAR_CPU_sm4 (UINT64_C(1) << 53)
#define INVAR_CPU_kl (UINT64_C(1) << 54)
#define INVAR_CPU_widekl (UINT64_C(1) << 55)
#define INVAR_CPU_xsaveopt (UINT64_C(1) << 56)
#define INVAR_CPU_xsavec (UINT64_C(1) << 57)
#define INVAR_BIT_xsaves (UINT64_C(1) << 58)
/* The levels of the psABI (table 3.1), by those of their features on which no other builds. */
#define INVAR_CPU_x86_64_v2 (INVAR_CPU_sse4_2 | INVAR_CPU_popcnt | INVAR_CPU_cmpxchg16b | INVAR_BIT_lahfsahf | INVAR_BIT_fxsr)
#define INVAR_CPU_x86_64_v3 \
	(INVAR_CPU_x86_64_v2 | INVAR_CPU_avx2 | INVAR_CPU_bmi1 | INVAR_CPU_bmi2 | INVAR_CPU_f16c | INVAR_CPU_fma | INVAR_CPU_lzcnt | \
	 INVAR_CPU_movbe | INVAR_CPU_xsave)
#define INVAR_CPU_x86_64_v4 \
	(INVAR_CPU_x86_64_v3 | INVAR_CPU_avx512bw | INVAR_CPU_avx512cd | INVAR_CPU_avx512dq | INVAR_CPU_avx512vl)

/* The attributes of functions in resolvers. */
#ifdef __has_attribute
#if __has_attribute(no_stack_protector)
#define INVAR_NO_PROTECTOR_ __attribute__((no_stack_protector))
#endif
#if __has_attribute(no_profile_instrument_function)
#define INVAR_NO_PROFILE_ __attribute__((no_profile_instrument_function))
#endif
#if __has_attribute(no_sanitize_coverage)
#define INVAR_NO_COVERAGE_ __attribute__((no_sanitize_coverage))
#endif
/* Without it clang's thread sanitizer puts calls at the beginning and end of every function. Clang has it since version 14. */
#if __has_attribute(disable_sanitizer_instrumentation)
#define INVAR_NO_CALLS_ __attribute__((disable_sanitizer_instrumentation))
#endif
/* A split stack's end is in thread-local memory. g++ takes the attribute for declarations only. */
#if __has_attribute(no_split_stack) && !defined __cplusplus
#define INVAR_NO_SPLIT_ __attribute__((no_split_stack))
#endif
#if __has_attribute(uninitialized)
#define INVAR_UNINITIALIZED_ __attribute__((uninitialized))
#endif
#endif
#ifndef INVAR_NO_PROTECTOR_
#define INVAR_NO_PROTECTOR_ __attribute__((optimize("no-stack-protector")))
#endif
#ifndef INVAR_NO_PROFILE_
#define INVAR_NO_PROFILE_
#endif
#ifndef INVAR_NO_COVERAGE_
#define INVAR_NO_COVERAGE_
#endif
#ifndef INVAR_NO_CALLS_
#define INVAR_NO_CALLS_
#endif
#ifndef INVAR_NO_SPLIT_
#define INVAR_NO_SPLIT_
#endif
#ifndef INVAR_UNINITIALIZED_
#define INVAR_UNINITIALIZED_
#endif
#ifdef __clang__
#define INVAR_NO_SANITIZE_ \
	__attribute__((no_sanitize("address", "hwaddress", "memory", "safe-stack", "thread", "undefined", "coverage"))) INVAR_NO_CALLS_
#else
#define INVAR_NO_SANITIZE_ __attribute__((no_sanitize("address,hwaddress,thread,undefined")))
#endif
#define INVAR_RAW_ \
	__attribute__((noinline, unused, no_instrument_function)) INVAR_NO_SANITIZE_ INVAR_NO_PROTECTOR_ INVAR_NO_PROFILE_ \
	INVAR_NO_COVERAGE_ INVAR_NO_SPLIT_ static

#ifdef __cplusplus
extern "C" {
#endif

/* There are settings; and the environment could not be read. */
enum { INVAR_SETTINGS_ = 1, INVAR_UNREADABLE_ = 2 };

#if defined __x86_64__ && defined __linux__ && defined __LP64__

INVAR_RAW_ void invar_cpuid_(uint32_t leaf, uint32_t part, uint32_t *registers)
{
	__asm__("cpuid" : "=a"(registers[0]), "=b"(registers[1]), "=c"(registers[2]), "=d"(registers[3]) : "a"(leaf), "c"(part));
}

/* The features that these registers of cpuid's tell, where the operating system saves this state: ecx and edx of leaf 1; ebx, ecx and
 * edx of leaf 7, eax and edx of its part 1; eax of part 1 of leaf 0xd; ebx of leaf 0x19; ecx of leaf 0x80000001. As the runtime's
 * cpu_features_of(). */
INVAR_RAW_ uint64_t invar_cpu_features_of_(const uint32_t *said, uint32_t saved)
{
	/* Which register, which bit, and what of the state must be saved: arch/x86_64/cpu.rs. */
	static const unsigned char where[59][3] = {
		{0, 0, 0}, {0, 1, 0}, {0, 9, 0}, {0, 12, 6}, {0, 13, 0}, {0, 19, 0}, {0, 20, 0}, {0, 22, 0},
		{0, 23, 0}, {0, 25, 0}, {0, 26, 6}, {0, 28, 6}, {0, 29, 6}, {2, 3, 0}, {2, 5, 6}, {2, 8, 0},
		{2, 9, 0}, {2, 16, 0xe6}, {2, 17, 0xe6}, {2, 19, 0}, {2, 28, 0xe6}, {2, 29, 0}, {2, 30, 0xe6}, {2, 31, 0xe6},
		{3, 1, 0xe6}, {3, 8, 0}, {3, 9, 6}, {3, 10, 6}, {3, 11, 0xe6}, {4, 4, 0}, {9, 0, 0}, {9, 5, 0},
		{1, 25, 0}, {1, 26, 0}, {1, 24, 0}, {0, 30, 0}, {2, 18, 0}, {9, 6, 0}, {9, 21, 0}, {2, 21, 0xe6},
		{3, 6, 0xe6}, {3, 12, 0xe6}, {3, 14, 0xe6}, {4, 8, 0xe6}, {4, 23, 0xe6}, {5, 5, 0xe6}, {5, 4, 6}, {5, 23, 6},
		{6, 4, 6}, {6, 5, 6}, {6, 10, 6}, {5, 0, 6}, {5, 1, 6}, {5, 2, 6}, {8, 0, 0}, {8, 2, 0},
		{7, 0, 6}, {7, 1, 6}, {7, 3, 6}};
	/* A feature, and those that it builds on. Each row stands behind those of the features that it builds on. */
	static const uint64_t implied[43][2] = {
		{INVAR_BIT_sse2, INVAR_BIT_sse},
		{INVAR_CPU_xsaveopt, INVAR_CPU_xsave},
		{INVAR_CPU_xsavec, INVAR_CPU_xsave},
		{INVAR_BIT_xsaves, INVAR_CPU_xsave},
		{INVAR_CPU_sse3, INVAR_BIT_sse2},
		{INVAR_CPU_pclmulqdq, INVAR_BIT_sse2},
		{INVAR_CPU_aes, INVAR_BIT_sse2},
		{INVAR_CPU_sha, INVAR_BIT_sse2},
		{INVAR_CPU_gfni, INVAR_BIT_sse2},
		{INVAR_CPU_kl, INVAR_BIT_sse2},
		{INVAR_CPU_ssse3, INVAR_CPU_sse3},
		{INVAR_CPU_sse4a, INVAR_CPU_sse3},
		{INVAR_CPU_widekl, INVAR_CPU_kl},
		{INVAR_CPU_sse4_1, INVAR_CPU_ssse3},
		{INVAR_CPU_sse4_2, INVAR_CPU_sse4_1},
		{INVAR_CPU_avx, INVAR_CPU_sse4_2},
		{INVAR_CPU_fma, INVAR_CPU_avx},
		{INVAR_CPU_f16c, INVAR_CPU_avx},
		{INVAR_CPU_avx2, INVAR_CPU_avx},
		{INVAR_CPU_vpclmulqdq, INVAR_CPU_avx | INVAR_CPU_pclmulqdq},
		{INVAR_CPU_sm3, INVAR_CPU_avx},
		{INVAR_CPU_avx512f, INVAR_CPU_avx2 | INVAR_CPU_fma | INVAR_CPU_f16c},
		{INVAR_CPU_vaes, INVAR_CPU_avx2 | INVAR_CPU_aes},
		{INVAR_CPU_avxvnni, INVAR_CPU_avx2},
		{INVAR_CPU_avxifma, INVAR_CPU_avx2},
		{INVAR_CPU_avxvnniint8, INVAR_CPU_avx2},
		{INVAR_CPU_avxneconvert, INVAR_CPU_avx2},
		{INVAR_CPU_avxvnniint16, INVAR_CPU_avx2},
		{INVAR_CPU_sha512, INVAR_CPU_avx2},
		{INVAR_CPU_sm4, INVAR_CPU_avx2},
		{INVAR_CPU_avx512dq, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512cd, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512bw, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512vl, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512vnni, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512ifma, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512vpopcntdq, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512vp2intersect, INVAR_CPU_avx512f},
		{INVAR_CPU_avx512vbmi, INVAR_CPU_avx512bw},
		{INVAR_CPU_avx512vbmi2, INVAR_CPU_avx512bw},
		{INVAR_CPU_avx512bitalg, INVAR_CPU_avx512bw},
		{INVAR_CPU_avx512fp16, INVAR_CPU_avx512bw},
		{INVAR_CPU_avx512bf16, INVAR_CPU_avx512bw}};
	uint64_t features = 0;
	unsigned at;

	for (at = 0; at < sizeof where / sizeof *where; at++)
		if ((said[where[at][0]] >> where[at][1] & 1) && (saved & where[at][2]) == where[at][2])
			features |= UINT64_C(1) << at;
	for (at = 0; at < sizeof implied / sizeof *implied; at++)
		if ((features & implied[at][1]) != implied[at][1])
			features &= ~implied[at][0];
	/* Some Skylakes report BMI and have neither (Intel, erratum SKL052). */
	return features & INVAR_CPU_avx ? features : features & ~(INVAR_CPU_bmi1 | INVAR_CPU_bmi2);
}

/* The features of this CPU under this operating system, as the runtime's cpu_features() has them. */
INVAR_RAW_ uint64_t invar_cpu_features_(void)
{
	INVAR_UNINITIALIZED_ uint32_t registers[4], said[10];
	uint32_t saved = 0, ignored, last;

	invar_cpuid_(1, 0, registers);
	said[0] = registers[2];
	said[1] = registers[3];
	said[2] = said[3] = said[4] = said[5] = said[6] = said[7] = said[8] = said[9] = 0;
	invar_cpuid_(0, 0, registers);
	last = registers[0];
	if (last >= 7) {
		invar_cpuid_(7, 0, registers);
		said[2] = registers[1];
		said[3] = registers[2];
		said[4] = registers[3];
		if (registers[0] >= 1) {
			invar_cpuid_(7, 1, registers);
			said[5] = registers[0];
			said[6] = registers[3];
		}
	}
	if (last >= 0xd) {
		invar_cpuid_(0xd, 1, registers);
		said[7] = registers[0];
	}
	/* Key Locker. */
	if (last >= 0x19 && (said[3] >> 23 & 1)) {
		invar_cpuid_(0x19, 0, registers);
		said[8] = registers[1];
	}
	invar_cpuid_(0x80000000, 0, registers);
	if (registers[0] > 0x80000000) {
		invar_cpuid_(0x80000001, 0, registers);
		said[9] = registers[2];
	}
	if (said[0] >> 27 & 1)
		__asm__("xgetbv" : "=a"(saved), "=d"(ignored) : "c"(0));
	return invar_cpu_features_of_(said, saved);
}

/* read, open and close: numbers 0, 257 (openat) and 3. */
INVAR_RAW_ long invar_call_(long number, long first, const void *second, long third)
{
	__asm__ volatile("syscall" : "+a"(number) : "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
	return number;
}

/* AT_FDCWD; O_RDONLY | O_CLOEXEC. */
INVAR_RAW_ long invar_open_(const char *path)
{
	return invar_call_(257, -100, path, 02000000);
}

/* Whether a setting's word of this length is `name` behind `before`; _ in it stands for a dash in the names of levels, else for a dot.
 * Reads that are volatile are not made into calls of libc's functions. */
INVAR_RAW_ int invar_is_(const volatile char *word, unsigned length, const volatile char *before, const volatile char *name)
{
	char between = *name == 'x' ? '-' : '.';

	for (; *before; before++, word++, length--)
		if (!length || *word != *before)
			return 0;
	for (; *name; name++, word++, length--)
		if (!length || *word != (*name == '_' ? between : *name))
			return 0;
	return !length;
}

/* Whether settings do not count: by AT_SECURE (23), or because it cannot be told. */
INVAR_RAW_ int invar_secure_(void)
{
	/* Pairs of a kind and a value; far more than there are. */
	INVAR_UNINITIALIZED_ unsigned long entries[128];
	long file = invar_open_("/proc/self/auxv"), size, at;
	int secure = 1;

	if (file < 0)
		return 1;
	size = invar_call_(0, file, entries, sizeof entries) / (long)sizeof *entries;
	for (at = 0; at + 1 < size && entries[at]; at += 2)
		if (entries[at] == 23) {
			secure = entries[at + 1] != 0;
			break;
		}
	invar_call_(3, file, 0, 0);
	return secure;
}

/* Which of these features, whose names have a NUL behind each, are switched off: bit 0 for the first. As Settings::take and Settings::key
 * of src/settings.rs read the environment. `found` tells whether there are settings at all. */
INVAR_RAW_ unsigned invar_lowered_(const char *names, unsigned count, unsigned char *found)
{
	enum { NAME, MODE, KEYS, OTHER } in = NAME;
	INVAR_UNINITIALIZED_ char buffer[2048];
	INVAR_UNINITIALIZED_ char word[64];
	unsigned lowered = 0, off = 0, length = 0, equals = 0, fresh = 0, at;
	long file = invar_open_("/proc/self/environ"), size, next;

	if (file < 0) {
		*found |= INVAR_UNREADABLE_;
		return 0;
	}
	do {
		size = invar_call_(0, file, buffer, sizeof buffer);
		if (size < 0)
			*found |= INVAR_UNREADABLE_;
		for (next = 0; next < size; next++) {
			char byte = buffer[next];

			/* The last INVAR_KEYS counts, unless it is empty. */
			if (byte && in == KEYS && fresh)
				lowered = fresh = 0;
			if (byte && !(byte == ',' && in == KEYS)) {
				if (byte == '=' && !equals)
					equals = length;
				/* One that is longer is none that is looked for. */
				if (length < sizeof word)
					((volatile char *)word)[length++] = byte;
				if (in != NAME || byte != '=')
					continue;
				length--;
				in = invar_is_(word, length, "INVAR", "") ? MODE
				     : invar_is_(word, length, "INVAR_KEYS", "") ? KEYS : OTHER;
				if (in == MODE || in == KEYS)
					*found |= INVAR_SETTINGS_;
				length = equals = 0;
				fresh = 1;
				continue;
			}
			if (in == MODE) {
				if (invar_is_(word, length, "off", ""))
					off = 1;
				else if (invar_is_(word, length, "auto", "") || invar_is_(word, length, "require", ""))
					off = 0;
			} else if (in == KEYS && equals) {
				const volatile char *name = names;

				for (at = 0; at < count; at++) {
					if (invar_is_(word, equals, "cpu.", (const char *)name)) {
						lowered &= ~(1u << at);
						if (invar_is_(word + equals + 1, length - equals - 1, "off", ""))
							lowered |= 1u << at;
					}
					while (*name++)
						;
				}
			}
			length = equals = 0;
			if (!byte)
				in = NAME;
		}
	} while (size == (long)sizeof buffer);
	invar_call_(3, file, 0, 0);
	if (off)
		lowered = ~0u;
	return lowered && !invar_secure_() ? lowered : 0;
}

#else

INVAR_RAW_ uint64_t invar_cpu_features_(void)
{
	return 0;
}

INVAR_RAW_ unsigned invar_lowered_(const char *names, unsigned count, unsigned char *found)
{
	(void)names, (void)count, (void)found;
	return 0;
}

#endif

/* The facts that this file knows: the CPU's features, that it was asked for them, and that there are no settings. */
__attribute__((unused)) static uint64_t invar_facts_;

/* What has been chosen for one function: one more than the position of its variant; then why. */
enum { INVAR_CHOSEN_ = 0x0f, INVAR_CHOSEN_LOWERED_ = 0x10, INVAR_CHOSEN_UNREADABLE_ = 0x20 };

INVAR_RAW_ unsigned invar_choose_(unsigned char *chosen, const char *names, const uint64_t *needs, unsigned count)
{
	const uint64_t asked = UINT64_C(1) << 63, plain = UINT64_C(1) << 62;
	uint64_t facts = __atomic_load_n(&invar_facts_, __ATOMIC_RELAXED);
	unsigned choice = __atomic_load_n(chosen, __ATOMIC_RELAXED), lowered = 0, at;
	unsigned char found = 0;

	if (choice)
		return choice;
	if (!(facts & asked))
		facts |= asked | invar_cpu_features_();
	if (!(facts & plain)) {
		lowered = invar_lowered_(names, count, &found);
		if (!found)
			facts |= plain;
	}
	for (at = count; at; at--)
		if (!(needs[at - 1] & ~facts)) {
			if (!(lowered >> (at - 1) & 1))
				break;
			choice = INVAR_CHOSEN_LOWERED_;
		}
	choice |= (at + 1) | (found & INVAR_UNREADABLE_ ? INVAR_CHOSEN_UNREADABLE_ : 0);
	__atomic_store_n(&invar_facts_, facts, __ATOMIC_RELAXED);
	__atomic_store_n(chosen, (unsigned char)choice, __ATOMIC_RELAXED);
	return choice;
}

/* The probe of a function's key: its value is the choice of the resolver, which may come later. */
__attribute__((unused)) static void invar_probe_ifunc_(struct invar_verdict *verdict, unsigned choice)
{
	verdict->value = (uint8_t)((choice & INVAR_CHOSEN_) - 1);
	invar_evidence(verdict, INVAR_IFUNCS ? "an IFUNC symbol" : "an ordinary symbol, as there is no IFUNC here");
	invar_evidence(verdict, ", by cpuid");
	if (choice & INVAR_CHOSEN_LOWERED_)
		invar_evidence(verdict, "; lowered by INVAR or INVAR_KEYS");
	if (choice & INVAR_CHOSEN_UNREADABLE_)
		invar_evidence(verdict, "; /proc/self/environ cannot be read: without settings");
}

/* The probe of a feature's key, which counts in `asked` how often the CPU had been asked when the key was. */
__attribute__((unused)) static void invar_probe_cpu_(struct invar_verdict *verdict, uint64_t needs, unsigned *asked)
{
	static uint64_t features;
	static unsigned times;	/* how often the CPU was asked */

	/* A key that is asked again begins another pass over the keys (invar_rebind), which may be on another CPU. */
	if (*asked == times) {
		features = invar_cpu_features_();
		times++;
	}
	*asked = times;
	verdict->value = !(needs & ~features);
	invar_evidence(verdict, "by cpuid");
}

/* Flag 1: a fact of safety; 16: a name of invar's own. All files of a module that have it share one. */
#define INVAR_CPU_KEY_(key, names, needs) \
	static void invar_look_##key(invar_verdict_ *verdict) \
	{ \
		static unsigned asked; \
		invar_probe_cpu_(verdict, needs, &asked); \
	} \
	__attribute__((weak)) INVAR_STATE_ invar_verdict_ key; \
	INVAR_KEY_RECORD_(__attribute__((weak)) INVAR_HIDDEN, key, names, invar_look_##key, 2, 17) \
	INVAR_SEMICOLON_

/* Names that no identifier can have. */
#define INVAR_DOTTED_sse4_1 , "sse4.1"
#define INVAR_DOTTED_sse4_2 , "sse4.2"
#define INVAR_DOTTED_x86_64_v2 , "x86-64-v2"
#define INVAR_DOTTED_x86_64_v3 , "x86-64-v3"
#define INVAR_DOTTED_x86_64_v4 , "x86-64-v4"

#ifdef __cplusplus
}
#define INVAR_EXTERN_C_ extern "C"
#else
#define INVAR_EXTERN_C_ extern
#endif

/* How many variants there are behind the base. */
#define INVAR_VARIANTS_(base, f1, v1, f2, v2, f3, v3, f4, v4, count, ...) count
#define INVAR_IFUNC_(count, ...) INVAR_PASTE_(INVAR_IFUNC_, count)(__VA_ARGS__)

#define INVAR_IFUNC_1(type, f, ps, as, base, f1, v1) \
	INVAR_IFUNC_KEY_(f, 1, #f1, (INVAR_CPU_##f1), #base "\0" #v1) \
	INVAR_IFUNC_SYMBOL_(type, f, ps, as, base, INVAR_CASE_(1, v1), INVAR_IF_(f, 1, v1, as))
#define INVAR_IFUNC_2(type, f, ps, as, base, f1, v1, f2, v2) \
	INVAR_IFUNC_KEY_(f, 2, #f1 "\0" #f2, (INVAR_CPU_##f1, INVAR_CPU_##f2), #base "\0" #v1 "\0" #v2) \
	INVAR_IFUNC_SYMBOL_(type, f, ps, as, base, INVAR_CASE_(1, v1) INVAR_CASE_(2, v2), \
			    INVAR_IF_(f, 1, v1, as) INVAR_IF_(f, 2, v2, as))
#define INVAR_IFUNC_3(type, f, ps, as, base, f1, v1, f2, v2, f3, v3) \
	INVAR_IFUNC_KEY_(f, 3, #f1 "\0" #f2 "\0" #f3, (INVAR_CPU_##f1, INVAR_CPU_##f2, INVAR_CPU_##f3), \
			 #base "\0" #v1 "\0" #v2 "\0" #v3) \
	INVAR_IFUNC_SYMBOL_(type, f, ps, as, base, INVAR_CASE_(1, v1) INVAR_CASE_(2, v2) INVAR_CASE_(3, v3), \
			    INVAR_IF_(f, 1, v1, as) INVAR_IF_(f, 2, v2, as) INVAR_IF_(f, 3, v3, as))
#define INVAR_IFUNC_4(type, f, ps, as, base, f1, v1, f2, v2, f3, v3, f4, v4) \
	INVAR_IFUNC_KEY_(f, 4, #f1 "\0" #f2 "\0" #f3 "\0" #f4, \
			 (INVAR_CPU_##f1, INVAR_CPU_##f2, INVAR_CPU_##f3, INVAR_CPU_##f4), \
			 #base "\0" #v1 "\0" #v2 "\0" #v3 "\0" #v4) \
	INVAR_IFUNC_SYMBOL_(type, f, ps, as, base, \
			    INVAR_CASE_(1, v1) INVAR_CASE_(2, v2) INVAR_CASE_(3, v3) INVAR_CASE_(4, v4), \
			    INVAR_IF_(f, 1, v1, as) INVAR_IF_(f, 2, v2, as) INVAR_IF_(f, 3, v3, as) INVAR_IF_(f, 4, v4, as))

/* Flag 4: the symbol is bound already (docs/site-abi.md). No pointer is in any of this data: it would not be relocated yet. */
#define INVAR_IFUNC_KEY_(function, count, names, masks, values) \
	INVAR_NOT_RESERVED_(INVAR_RESERVED_##function, 0, 0); \
	static unsigned char invar_chosen_##function; \
	INVAR_RAW_ unsigned invar_choose_##function(void) \
	{ \
		static const uint64_t needs[] = {INVAR_UNPACK_ masks}; \
		return invar_choose_(&invar_chosen_##function, names, needs, count); \
	} \
	static void invar_look_##function(invar_verdict_ *verdict) \
	{ \
		invar_probe_ifunc_(verdict, invar_choose_##function()); \
	} \
	INVAR_STATE_ invar_verdict_ invar_key_##function; \
	INVAR_KEY_RECORD_(INVAR_HIDDEN, invar_key_##function, #function "\0" values, invar_look_##function, count + 1, 4)
#define INVAR_UNPACK_(...) __VA_ARGS__

#define INVAR_IF_(function, position, variant, arguments) \
	if (invar_branch_is(function, position)) \
		return variant arguments;

#if INVAR_IFUNCS

/* A variant that could be another module's does not assemble. The second function sees to the types, and is never there. */
#define INVAR_ADDRESS_(variant) __asm__("{lea %c1(%%rip), %0|lea %0, %c1[rip]}" : "=r"(address) : "i"(variant))
#define INVAR_CASE_(position, variant) \
	case position: \
		INVAR_ADDRESS_(variant); \
		break;
#define INVAR_IFUNC_SYMBOL_(type, function, parameters, arguments, base, cases, branches) \
	INVAR_RAW_ type (*invar_resolve_##function(void)) parameters __asm__("invar_resolve_" #function); \
	INVAR_RAW_ type (*invar_resolve_##function(void)) parameters \
	{ \
		type (*address) parameters; \
		switch ((invar_choose_##function() & INVAR_CHOSEN_) - 1) { \
		cases \
		default: \
			INVAR_ADDRESS_(base); \
		} \
		return address; \
	} \
	INVAR_EXTERN_C_ type function parameters __attribute__((ifunc("invar_resolve_" #function))); \
	__attribute__((unused)) static inline type invar_types_##function parameters \
	{ \
		branches \
		return base arguments; \
	} \
	INVAR_SEMICOLON_

#else

#define INVAR_CASE_(position, variant)
#define INVAR_IFUNC_SYMBOL_(type, function, parameters, arguments, base, cases, branches) \
	INVAR_EXTERN_C_ type function parameters; \
	type function parameters \
	{ \
		branches \
		return base arguments; \
	} \
	INVAR_SEMICOLON_

#endif

#endif
