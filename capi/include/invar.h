/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * invar: decide once, at load; afterwards the code no longer asks.
 *
 *	static void probe_wide(struct invar_verdict *verdict)
 *	{
 *		verdict->value = sysconf(_SC_NPROCESSORS_ONLN) > 8;
 *	}
 *	INVAR_KEY(wide, probe_wide);
 *
 *	if (invar_branch(wide)) ...             a nop or a jump, once libinvar has bound it
 *
 *	invar_slice_enter();                    one store, or a nop
 *	... a short critical section ...
 *	invar_slice_leave();                    two instructions, or a nop
 *
 * Keys and sites need nothing: an object that uses them links and runs without libinvar, where every key has its first
 * value and every site stands in its checked form, a compare and a jump. With libinvar in the process, linked or
 * preloaded, keys are decided and sites bound when the object is loaded. The functions further down are libinvar's own.
 *
 * Needs gcc 10 or clang 11 and binutils 2.36, or newer; C11 or C++11 with GNU extensions or without. Sites stand in
 * functions. In C, clang before 17 refuses a variable with the attribute cleanup between two sites of one function.
 * docs/site-abi.md describes what stands in the object file.
 *
 * Sites are bound on x86-64 Linux, unless for -mcmodel=large. Elsewhere they are ordinary loads, sections ask for nothing, and
 * a key is what its probe says, with libinvar and without, whatever the settings are.
 */
#ifndef INVAR_H
#define INVAR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* This header's version, as invar_version() has the library's. */
#define INVAR_VERSION 0x000100

#if defined __x86_64__ && defined __linux__ && defined __LP64__ && !defined __code_model_large__ && \
	!defined INVAR_PORTABLE
#define INVAR_SITES 1
#else
#define INVAR_SITES 0
#endif

/* A key's value, and the reason for it: what a probe fills in, and what sites read. */
struct invar_verdict {
	uint8_t value;			/* position among the key's values; 0 until decided */
	uint8_t status;			/* libinvar's: 0 undecided, 1 being decided, 2 sealed */
	uint8_t origin;			/* an INVAR_ORIGIN_; a probe that cannot tell sets INVAR_ORIGIN_FAILED */
	uint8_t reserved[5];
	uint64_t data;			/* libinvar's, for the slice key */
	uint16_t evidence_length;	/* of evidence, which is not NUL-terminated */
	char evidence[238];
};

enum {
	INVAR_ORIGIN_PROBE = 0,		/* the probe decided */
	INVAR_ORIGIN_FAILED = 1,	/* the probe could not tell; the key has its first value */
	INVAR_ORIGIN_ADOPTED = 2,	/* another module had decided a key of this name */
	INVAR_ORIGIN_SETTING = 3,	/* INVAR or INVAR_KEYS chose a value that needs no more than the probe allows */
	INVAR_ORIGIN_FORCED = 4		/* INVAR_KEYS=slice=force */
};

/* Decides a key. Runs once, in a constructor, before those of ordinary priority; also before what __builtin_cpu_supports
 * looks at is filled in, so that a probe that asks it calls __builtin_cpu_init first. */
typedef void (*invar_probe)(struct invar_verdict *verdict);

/* Appends to the evidence what a probe saw; what does not fit is cut off. */
static inline void invar_evidence(struct invar_verdict *verdict, const char *text)
{
	while (*text && verdict->evidence_length < sizeof verdict->evidence)
		verdict->evidence[verdict->evidence_length++] = *text++;
}

#define INVAR_HIDDEN __attribute__((visibility("hidden")))
#define INVAR_API __attribute__((weak)) extern

/* Defines a key with the values off and on, for this one module: one object file of it. NAME is the key's name in
 * settings and reports as well; a library's should carry its own, as in mylib_wide. PROBE is an invar_probe, and
 * stands before. */
#define INVAR_KEY(name, probe) INVAR_KEY_VALUES(name, probe, "off\0on", 2)

/* The same for a key with other values, 2 to 64: VALUES are their names with \0 between, from the one that needs
 * nothing to the most demanding. */
#define INVAR_KEY_VALUES(name, probe, values, count) \
	INVAR_ASSERT_((count) >= 2 && (count) <= 64, "a key has 2 to 64 values"); \
	INVAR_HIDDEN struct invar_verdict invar_key_##name; \
	INVAR_KEY_RECORD_(name, invar_key_##name, #name "\0" values, probe, count, 0) \
	INVAR_SEMICOLON_

/* Makes a key known that another object file of this module defines. */
#define INVAR_EXTERN_KEY(name) extern INVAR_HIDDEN struct invar_verdict invar_key_##name

/* Whether the key is on; whether it has the value at this position, an integer constant. */
#define invar_branch(name) invar_branch_is(name, 1)
#define invar_branch_is(name, position) INVAR_BRANCH_(&invar_key_##name, position)

/* The key's value, by an ordinary load. */
#define invar_value(name) (*(const volatile uint8_t *)&invar_key_##name.value)

/* Defines a function that is `on` where the key is on, else `off`:
 * INVAR_DISPATCH(static, int, count, (const char *text), (text), wide, count_wide, count_narrow); */
#define INVAR_DISPATCH(storage, type, function, parameters, arguments, key, on, off) \
	INVAR_VOID_RETURNS_ \
	storage type function parameters \
	{ \
		if (invar_branch(key)) \
			return on arguments; \
		return off arguments; \
	} \
	_Pragma("GCC diagnostic pop") \
	INVAR_SEMICOLON_

/* Begins a section that should not be preempted, and ends it. Keep it short, as a lock's; make no system call in it,
 * do not nest it, and begin another after any sleep. All of that costs the benefit only. Both are compiler barriers. */
#define invar_slice_enter() INVAR_SLICE_SITE_("", 2, invar_slice_request_)
#define invar_slice_leave() INVAR_SLICE_SITE_(".byte 0x3e\n\t", 3, invar_slice_withdraw_)

/* libinvar's functions. The references are weak: where it may be absent, look whether they are null. All can be called
 * from any thread; none of them inside a section. */

/* What functions return. Negative numbers are error numbers of the kernel's. */
enum {
	INVAR_OK = 0,
	INVAR_ABSENT = 1,		/* the slice extension is absent; the slice key's evidence says why */
	INVAR_NO_AREA = 2,		/* libc registers areas, and has none for this thread */
	INVAR_OTHER_AREA = 3,		/* somebody else registered an area for this thread */
	INVAR_NO_KEY = 4,		/* no module has decided a key of this name */
	INVAR_INVALID = 5,		/* an argument */
	INVAR_NOT_COUNTED = 6,		/* nothing is counted */
	INVAR_OTHER_FILTERS = 7,	/* another thread has other seccomp filters */
	INVAR_KILLED = 8,		/* a seccomp filter kills who installs another */
	INVAR_ENDING = 9		/* the thread is about to end, and has given its area back */
};

/* What a code means: constant text, for any number. */
INVAR_API const char *invar_strerror(int code);

/* libinvar's version: major << 16 | minor << 8 | patch. */
INVAR_API unsigned invar_version(void);

/* Copies at most `size` bytes of the verdict of the key of this name, the first in the loader's order. INVAR_NO_KEY,
 * INVAR_INVALID. */
INVAR_API int invar_key(const char *name, struct invar_verdict *verdict, size_t size);

/* Makes the calling thread one that can be granted slices; the one that loads libinvar is. A read where it is one
 * already, else two system calls at most. INVAR_ABSENT, INVAR_NO_AREA, INVAR_OTHER_AREA, INVAR_ENDING, or negative. */
INVAR_API int invar_slice_enrol(void);

/* The same for the contended path of a lock, which is cold and taken again and again. */
INVAR_API void invar_slice_enrol_contended(void);

/* Makes it impossible to switch the extension off, in all threads and for the rest of the process's life, by a seccomp
 * filter. Read in invar(7) what that costs: it cannot be undone, is inherited, and may set no_new_privs. INVAR_ABSENT,
 * INVAR_OTHER_FILTERS, INVAR_KILLED, or negative. */
INVAR_API int invar_slice_guard(void);

/* What this process's sections asked for and got, where INVAR_SLICE=count or profile has it counted. */
struct invar_counts {
	size_t size;			/* sizeof(struct invar_counts): no more is written */
	uint64_t requests;		/* sections begun */
	uint64_t grants;		/* grants that were still there at the end */
	uint64_t yields;		/* of those, given up in time */
	uint64_t lost;			/* requests that were gone at the end, with no grant there */
};

/* INVAR_NOT_COUNTED, INVAR_INVALID. */
INVAR_API int invar_slice_counts(struct invar_counts *counts);

/* A thread, and what the kernel knows of its area. */
struct invar_thread {
	size_t size;			/* of what libinvar has filled in */
	uint64_t address;		/* of the area */
	uint32_t number;		/* as gettid(2) gives it */
	int32_t area;			/* INVAR_OK; INVAR_NO_AREA: it has none; negative: nobody could be asked, and why; -ETIMEDOUT: it did
					 * not stop within a second, as where it waits for its child after vfork */
	uint8_t enabled;		/* it can be granted time */
	uint8_t request;		/* it asks for time */
	uint8_t asleep;			/* with a request: one that was left set, as sections make no system calls */
	uint8_t reserved[5];
};

/* Calls `each` for every thread of the process, which a child process traces one after the other: each is stopped for
 * some microseconds, and a few system calls may return EINTR for it (signal(7)). For people and tests. Not inside a
 * section. INVAR_INVALID; negative where /proc is not there or there is no memory. */
INVAR_API int invar_slice_audit(void (*each)(const struct invar_thread *thread, void *argument), void *argument);

/* Writes what was decided and bound in all modules to a file descriptor, as text. INVAR_INVALID if it does not take
 * all of it. */
INVAR_API int invar_report(int descriptor);

/* What stands behind the macros. No part of the interface. */

#ifdef __cplusplus
#define INVAR_ASSERT_(condition, text) static_assert(condition, text)
#else
#define INVAR_ASSERT_(condition, text) _Static_assert(condition, text)
#endif
#define INVAR_SEMICOLON_ INVAR_ASSERT_(1, "")

/* Where the function's type is void, ISO C would have no expression behind `return`; C++ has. */
#ifdef __cplusplus
#define INVAR_VOID_RETURNS_ _Pragma("GCC diagnostic push")
#else
#define INVAR_VOID_RETURNS_ _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wpedantic\"")
#endif

/* docs/site-abi.md: what came of binding this module. */
struct invar_outcome_ {
	uint64_t words[4];
};

/* libinvar's, for this file alone. */
INVAR_API int invar_load(void *outcome);
INVAR_API void invar_probe_slice(struct invar_verdict *verdict, const void *record);
INVAR_API void invar_count_request(void *site);
INVAR_API void invar_count_withdrawal(void *site);

#if INVAR_SITES

extern INVAR_HIDDEN struct invar_outcome_ invar_outcome __asm__("invar_outcome");

/* Has libinvar bind the module. */
__attribute__((unused)) static void invar_bind_this_module_(void)
{
	if (invar_load)
		invar_load(&invar_outcome);
}

/* The module's note, its outcome, and a constructor for the function above; each once in a module, however many of its
 * object files have them. Priorities up to 100 are before the constructors that programs may ask for. */
#define INVAR_MODULE_ \
	".ifndef invar_module_here\n" \
	".set invar_module_here, 1\n" \
	".pushsection invar_sites, \"aR\", @progbits\n" \
	".popsection\n" \
	".pushsection invar_keys, \"aR\", @progbits\n" \
	".popsection\n" \
	".weak __start_invar_sites, __stop_invar_sites, __start_invar_keys, __stop_invar_keys\n" \
	".hidden __start_invar_sites, __stop_invar_sites, __start_invar_keys, __stop_invar_keys\n" \
	".pushsection .bss.invar_outcome, \"aw\", @nobits\n" \
	".balign 8\n" \
	".weak invar_outcome\n" \
	".hidden invar_outcome\n" \
	".type invar_outcome, @object\n" \
	".size invar_outcome, 32\n" \
	"invar_outcome: .zero 32\n" \
	".popsection\n" \
	".pushsection .note.invar, \"aGR\", @note, invar_note, comdat\n" \
	".balign 4\n" \
	".long 6, 24, 1\n" \
	".asciz \"invar\"\n" \
	".balign 4\n" \
	".long __start_invar_sites - ., __stop_invar_sites - .\n" \
	".long __start_invar_keys - ., __stop_invar_keys - .\n" \
	".long invar_outcome - ., 0\n" \
	".popsection\n" \
	".pushsection .init_array.00100, \"awG\", @init_array, invar_constructor, comdat\n" \
	".balign 8\n" \
	".quad %c[bind]\n" \
	".popsection\n" \
	".endif\n"

/* One key record, in a function that is never called: only an asm statement in one can name what stands around it. */
#define INVAR_KEY_RECORD_(name, state, names, probe, count, flags) \
	static void invar_probe_##name(struct invar_verdict *invar_verdict_, const void *invar_record_) \
	{ \
		(void)invar_record_; \
		(probe)(invar_verdict_); \
	} \
	static const char invar_names_##name[] = names; \
	__attribute__((used)) static void invar_record_##name(void) \
	{ \
		__asm__ volatile( \
			".pushsection invar_keys, \"aR\", @progbits\n" \
			".balign 4\n" \
			".long %c[s] - ., %c[n] - ., %c[p] - .\n" \
			".short %c[length]\n" \
			".byte %c[values], %c[bits]\n" \
			".popsection\n" \
			INVAR_MODULE_ \
			: : [s] "i"(&state), [n] "i"(invar_names_##name), [p] "i"(invar_probe_##name), \
			    [length] "i"(sizeof invar_names_##name), [values] "i"(count), [bits] "i"(flags), \
			    [bind] "i"(invar_bind_this_module_)); \
	}

#define INVAR_SITE_(prefix, kind, key, position, otherwise) \
	__asm__ goto("2:\n\t" prefix \
		     "{cmpb $%c[value], %c[state](%%rip)|cmp byte ptr %c[state][rip], %c[value]}\n\t" \
		     "jne %l[" #otherwise "]\n" \
		     "3:\n\t" \
		     ".pushsection invar_sites, \"aR\", @progbits\n\t" \
		     ".balign 4\n\t" \
		     ".long 2b - ., %l[" #otherwise "] - ., %c[state] - .\n\t" \
		     ".byte 3b - 2b, " #kind ", %c[value], 0\n\t" \
		     ".popsection\n" \
		     : : [state] "i"(key), [value] "i"(position) : "cc" : otherwise)

/* Clang before 17 takes the targets of all sites in a function for those of each, and so refuses an object with a
 * destructor between two: in C++ each site then is in a function of its own, which is in line. Not a lambda's: where a
 * function has a switch or a goto, lambdas in it are taken for parts of it. */
#if defined __cplusplus && defined __clang__ && __clang_major__ < 17
#define INVAR_BEGIN_(type) \
	__extension__({ \
		struct invar_here_ { \
			__attribute__((always_inline, no_instrument_function)) static inline type invar_site_() {
#define INVAR_END_(result) return result; } }; invar_here_::invar_site_(); })
#else
#define INVAR_BEGIN_(type) __extension__({
#define INVAR_END_(result) result; })
#endif

#define INVAR_BRANCH_(key, position) \
	INVAR_BEGIN_(int) \
		__label__ invar_otherwise, invar_done; \
		int invar_is; \
		INVAR_SITE_("", 1, key, position, invar_otherwise); \
		invar_is = 1; \
		goto invar_done; \
	invar_otherwise: \
		invar_is = 0; \
	invar_done: \
	INVAR_END_(invar_is)

#define INVAR_SLICE_SITE_(prefix, kind, cold) \
	INVAR_BEGIN_(void) \
		__label__ invar_otherwise, invar_done; \
		__asm__ volatile("" : : : "memory"); \
		INVAR_SITE_(prefix, kind, &invar_slice, 0, invar_otherwise); \
		goto invar_done; \
	invar_otherwise: \
		cold(); \
	invar_done: \
		__asm__ volatile("" : : : "memory"); \
	INVAR_END_()

/* The module's copy of the slice key. */
extern INVAR_HIDDEN struct invar_verdict invar_slice __asm__("invar_slice");

__attribute__((unused)) static void invar_probe_slice_(struct invar_verdict *verdict, const void *record)
{
	if (invar_probe_slice)
		invar_probe_slice(verdict, record);
	else {
		verdict->origin = INVAR_ORIGIN_FAILED;
		invar_evidence(verdict, "libinvar is not there to probe");
	}
}

/* Its record, wherever a section begins. */
#define INVAR_SLICE_KEY_ \
	__asm__ volatile( \
		".ifndef invar_slice_here\n" \
		".set invar_slice_here, 1\n" \
		".pushsection .bss.invar_slice, \"aw\", @nobits\n" \
		".balign 8\n" \
		".weak invar_slice\n" \
		".hidden invar_slice\n" \
		".type invar_slice, @object\n" \
		".size invar_slice, 256\n" \
		"invar_slice: .zero 256\n" \
		".popsection\n" \
		".pushsection .rodata.invar_slice, \"a\", @progbits\n" \
		"7: .asciz \"slice\", \"off\", \"on\"\n" \
		"8:\n" \
		".popsection\n" \
		".pushsection invar_keys, \"aR\", @progbits\n" \
		".balign 4\n" \
		".long invar_slice - ., 7b - ., %c[p] - .\n" \
		".short 8b - 7b\n" \
		".byte 2, 26\n" \
		".popsection\n" \
		".endif\n" \
		INVAR_MODULE_ \
		: : [p] "i"(invar_probe_slice_), [bind] "i"(invar_bind_this_module_))

/* Where requests are counted there is no request_offset (docs/site-abi.md), so that no slice site is bound. */
#define INVAR_IS_COUNTED_() (((const volatile int32_t *)&invar_outcome)[4] == 0)

/* What unbound sites do, and the rare end of a bound section: no test of anything stands before. Distances are from
 * the thread pointer; the request is byte 28 of the area, and granted the one behind it (Linux,
 * include/uapi/linux/rseq.h). */
__attribute__((cold, noinline, unused)) static void invar_slice_request_(void)
{
	INVAR_SLICE_KEY_;
	if (INVAR_IS_COUNTED_() && invar_count_request)
		invar_count_request(__builtin_return_address(0));
	else
		__asm__ volatile("{movb $1, %%fs:28(%0)|mov byte ptr fs:[%0 + 28], 1}" : : "r"((intptr_t)(int32_t)invar_slice.data) : "memory");
}

__attribute__((cold, noinline, unused)) static void invar_slice_withdraw_(void)
{
	intptr_t area = (int32_t)invar_slice.data;
	long yield = (int32_t)(invar_slice.data >> 32);
	unsigned char kept, granted;

	if (INVAR_IS_COUNTED_() && invar_count_withdrawal) {
		invar_count_withdrawal(__builtin_return_address(0));
		return;
	}
	__asm__ volatile("{shrb $1, %%fs:28(%1)|shr byte ptr fs:[%1 + 28], 1}\n\tsetc %0" : "=q"(kept) : "r"(area) : "memory", "cc");
	__asm__ volatile("{movb %%fs:29(%1), %0|mov %0, fs:[%1 + 29]}" : "=q"(granted) : "r"(area) : "memory");
	if (!kept && granted && yield >= 0)
		__asm__ volatile("syscall" : "+a"(yield) : : "rcx", "r11", "memory", "cc");
}

#else /* no sites */

#define INVAR_KEY_RECORD_(name, state, names, probe, count, flags) \
	__attribute__((constructor(101))) static void invar_record_##name(void) \
	{ \
		(probe)(&state); \
		if (state.value >= (count) || state.origin != INVAR_ORIGIN_PROBE) { \
			state.value = 0; \
			state.origin = INVAR_ORIGIN_FAILED; \
		} \
		state.status = 2; \
	}
#define INVAR_BRANCH_(key, position) (*(const volatile uint8_t *)&(key)->value == (position))
#define INVAR_SLICE_SITE_(prefix, kind, cold) __extension__({ __asm__ volatile("" : : : "memory"); })

#endif

#ifdef __cplusplus
}
#endif
#endif
