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
 * Keys and sites need nothing: an object that uses them links and runs without libinvar. A key then is what its probe
 * says, and every site stands in its checked form, a compare and a jump. With libinvar in the process, linked or
 * preloaded, settings count, modules agree on a key, and sites are bound when the object is loaded. The functions
 * further down are libinvar's own.
 *
 * The oldest tools that are tested are gcc 12, clang 14 and binutils 2.40; the newest ones are tested too. Older ones may
 * do. Take C11 or C++11, or newer, with GNU extensions or without. Sites stand in functions. In C, clang before 17
 * refuses a variable with the attribute cleanup between two sites of one function. In a constexpr function g++ takes a
 * site in the other branch only: if (std::is_constant_evaluated()) ... else ...
 * docs/site-abi.md describes the tables in the object file.
 *
 * Sites are bound on Linux on x86-64, AArch64 and 64-bit RISC-V, but not with -mcmodel=large. On the last two, a constant whose
 * number no instruction holds is an ordinary load. Elsewhere all sites are, and critical sections ask for nothing; so it is on Windows, macOS, FreeBSD and WASI as well
 * (docs/platforms.md). With clang's -mspeculative-load-hardening branches are ordinary loads too, which it can harden. On RISC-V a file with
 * more than 1 MiB of code needs -ffunction-sections, else it is not linked (R_RISCV_JAL): a site does not reach further.
 */
#ifndef INVAR_H
#define INVAR_H

#if !defined __GNUC__ && !defined __clang__
#error "invar.h needs gcc or clang, on Windows MinGW or clang-cl: it is written with their attributes"
#endif

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* This header's version, as invar_version() has the library's. */
#define INVAR_VERSION 0x000200

#if defined __linux__ && defined __LP64__ && !defined INVAR_PORTABLE && \
	((defined __x86_64__ && !defined __code_model_large__) || (defined __AARCH64EL__ && !defined __AARCH64_CMODEL_LARGE__) || \
	 (defined __riscv && !defined __riscv_cmodel_large))
#define INVAR_SITES 1
#else
#define INVAR_SITES 0
#endif

/* Windows exports what it is told to, and nothing has to be hidden. */
#if defined _WIN32 || defined __CYGWIN__
#define INVAR_HIDDEN
#else
#define INVAR_HIDDEN __attribute__((visibility("hidden")))
#endif
#define INVAR_API __attribute__((weak)) extern

/* Functions of this header's own: in C++ those of one module are one, and can be called from what a module exports. */
#ifdef __cplusplus
#define INVAR_INLINE_ __attribute__((unused, no_instrument_function)) INVAR_HIDDEN inline
#else
#define INVAR_INLINE_ __attribute__((unused, no_instrument_function)) static inline
#endif

/* A key's value, and the reason for it. A probe fills it in, and sites read it. */
struct invar_verdict {
	uint8_t value;			/* position among the key's values; 0 until decided */
	uint8_t status;			/* libinvar's: 0 undecided, 1 being decided, 2 sealed; probes leave it */
	uint8_t origin;			/* an INVAR_ORIGIN_; a probe that cannot tell sets INVAR_ORIGIN_FAILED */
	uint8_t reserved;
	uint32_t sets;			/* libinvar's: how often a switch was set */
	uint64_t data;			/* a constant's number; libinvar's, of the time slice key */
	uint16_t evidence_length;	/* of evidence, which is not NUL-terminated */
	char evidence[238];
};

enum {
	INVAR_ORIGIN_PROBE = 0,		/* the probe decided */
	INVAR_ORIGIN_FAILED = 1,	/* the probe could not tell; the key has its first value */
	INVAR_ORIGIN_ADOPTED = 2,	/* another module had decided a key of this name */
	INVAR_ORIGIN_SETTING = 3,	/* INVAR or INVAR_KEYS chose a value that needs no more than the probe allows */
	INVAR_ORIGIN_FORCED = 4,	/* INVAR_KEYS=slice=force */
	INVAR_ORIGIN_SET = 5		/* a switch that was set since it was decided */
};

/* Decides a key. Runs once, in a constructor, before those of ordinary priority. A probe that asks by __builtin_cpu_supports
 * must call __builtin_cpu_init first, since the constructor that does so may come later; or see INVAR_CPU_KEY in
 * invar-ifunc.h. A probe may ask for other keys by invar_value. Probes, and all functions that libinvar is given, return: no
 * exception, longjmp or pthread_exit leaves them, since libinvar has no tables for unwinding. */
typedef void (*invar_probe)(struct invar_verdict *verdict);

/* Appends this text to the evidence, by which a probe says what it saw. The evidence has room for 238 bytes; the rest is
 * cut off. */
INVAR_INLINE_ void invar_evidence(struct invar_verdict *verdict, const char *text)
{
	while (*text && verdict->evidence_length < sizeof verdict->evidence)
		verdict->evidence[verdict->evidence_length++] = *text++;
}

/* Defines a key with the values off and on, in one object file of a module and for that module. NAME is the key's name in
 * settings and reports as well; a library puts its own name before it, as in mylib_wide. PROBE is an invar_probe, which
 * must be declared before. */
#define INVAR_KEY(name, probe) \
	INVAR_NOT_RESERVED_(INVAR_RESERVED_##name, 0, 0); \
	INVAR_KEY_(invar_key_##name, #name "\0off\0on", probe, 2, 0)

/* The same for a key with other values, 2 to 64: VALUES are their names with \0 between, from the one that needs
 * nothing to the most demanding. */
#define INVAR_KEY_VALUES(name, probe, values, count) \
	INVAR_NOT_RESERVED_(INVAR_RESERVED_##name, 0, 0); \
	INVAR_KEY_(invar_key_##name, #name "\0" values, probe, count, 0)

/* The same for a switch: a key that can be set again, by invar_set. Its probe says with which value it begins. */
#define INVAR_SWITCH(name, probe) \
	INVAR_NOT_RESERVED_(INVAR_RESERVED_##name, 0, 0); \
	INVAR_KEY_(invar_key_##name, #name "\0off\0on", probe, 2, 32)
#define INVAR_SWITCH_VALUES(name, probe, values, count) \
	INVAR_NOT_RESERVED_(INVAR_RESERVED_##name, 0, 0); \
	INVAR_KEY_(invar_key_##name, #name "\0" values, probe, count, 32)

/* Declares a key that another object file of this module defines. */
#define INVAR_EXTERN_KEY(name) INVAR_DECLARE_(invar_key_##name)

/* Whether the key is on; whether it has the value at this position, an integer constant. The key has its first value until
 * it is decided. */
#define invar_branch(name) INVAR_BRANCH_(&invar_key_##name, 1)
#define invar_branch_is(name, position) INVAR_BRANCH_(&invar_key_##name, position)

/* Whether the key has the value at this position, 1 to 63, an integer constant, or one behind it. For the values before the
 * position negate it. */
#define invar_branch_at_least(name, position) INVAR_ORDERED_(&invar_key_##name, position)

/* What is asked of sites, as invar_branch(name) or !invar_branch(name), and is nearly always so, or nearly never: compilers put the other
 * way behind all else. gcc does not heed __builtin_expect here. g++ heeds neither. */
#define invar_likely(what) (!INVAR_RARE_(!(what)))
#define invar_unlikely(what) INVAR_RARE_(what)

/* Whether the key has another value than its first, and it nearly never has, as a switch for tracing: no jump while it is off. */
#define invar_branch_unlikely(name) invar_unlikely(!invar_branch_is(name, 0))

/* The position of the key's value, by one jump where it is bound: for `switch`, whose cases are to be integer constants. COUNT is how
 * many values the key has, a literal number from 2 to 16. Of a key that has more, a value behind these gives COUNT. Then the site is not
 * bound while the key has such a value, and that of a switch never is. Before the key is decided it is 0. Two values are better told
 * apart by invar_branch.
 *
 *	switch (invar_select(width, 3)) {
 *	case 2: return count_widest(text);
 *	case 1: return count_wide(text);
 *	default: return count_narrow(text);
 *	}
 */
#define invar_select(name, count) INVAR_SELECT_(&invar_key_##name, count)

/* The position of the key's value, by ordinary loads. Decides the key if that has not been done yet, so that probes can ask
 * for other keys. Keys whose probes ask in a circle fail: all of them with libinvar, or where there are sites; elsewhere the
 * one that was asked for first. */
#define invar_value(name) INVAR_VALUE_(invar_key_##name)

/* Defines a constant: a key that has a number, of TYPE: uint8_t, uint16_t, uint32_t, uint64_t, or one that is as good, as size_t. The
 * probe fills in `data`. The number is 0 before it is decided, and where the probe fails; or FALLBACK, a constant expression. */
#define INVAR_CONSTANT(name, type, probe) INVAR_CONSTANT_FALLBACK(name, type, probe, 0)
#define INVAR_CONSTANT_FALLBACK(name, type, probe, fallback) \
	INVAR_NOT_RESERVED_(INVAR_RESERVED_##name, 0, 0); \
	INVAR_CONSTANT_(invar_key_##name, #name, probe, fallback, invar_type_##name, type)

/* Declares a constant that another object file of this module defines. */
#define INVAR_EXTERN_CONSTANT(name, type) \
	typedef type invar_type_##name; \
	INVAR_DECLARE_NUMBER_(invar_key_##name)

/* The constant's number. Unbound it is one load; bound, the instruction holds the number. For the compiler the number does not
 * change: it may ask for it before a loop, or once for two places. So what runs before the module is loaded, or beside that, may go
 * by the number that the constant had before. */
#define INVAR_VALUE(name) ((invar_type_##name)INVAR_NUMBER_(invar_key_##name, sizeof(invar_type_##name) > 4))

/* The same by ordinary loads, as invar_value for keys: in probes and constructors. */
#define invar_constant(name) ((invar_type_##name)INVAR_NUMBER_VALUE_(invar_key_##name))

/* Defines a function that is `on` where the key is on, else `off`:
 * INVAR_DISPATCH(static, int, count, (const char *text), (text), wide, count_wide, count_narrow);
 * With up to four keys, the first that is on counts: ..., widest, count_widest, wide, count_wide, count_narrow);
 * In the place of a key may stand INVAR_NOT(key), which holds where the key is off; INVAR_IS(key, position), where it has that value;
 * INVAR_AT_LEAST(key, position), where it has that value or one behind it, as invar_branch_at_least; and INVAR_AND(one, other) or
 * INVAR_AND_3(one, other, third), where all of them hold: keys, or any of the others, but not another INVAR_AND. */
#define INVAR_DISPATCH(storage, type, function, parameters, arguments, ...) \
	INVAR_PASTE_(INVAR_DISPATCH_, INVAR_NINTH_(__VA_ARGS__, 4, ?, 3, ?, 2, ?, 1, ?, ?)) \
	(storage, type, function, parameters, arguments, invar_key_##__VA_ARGS__)

/* Defines a pointer, in one object file of a module and for that module, so that count(text) is one indirect call:
 * INVAR_POINTER(int, count, (const char *text), wide, count_wide, count_narrow);
 * As it is linked it leads to the last function, the fallback; when the keys are decided, to that of the first key that is on, of up
 * to four: (..., widest, count_widest, wide, count_wide, count_narrow). INVAR_NOT and the like may stand in the place of a key, as in
 * INVAR_DISPATCH. No key is a switch, which a pointer would not follow. The functions have this type, and are the module's own:
 * static or hidden. Where there is nobody to store it, as without libinvar, the fallback stays. Reports have a key of the pointer's
 * name, whose values are fallback and what stands in the place of keys: wide, not-wide, width-2, width-2-or-more, fast+not-wide. So a
 * position is one word here, as 2 or the name of a constant. */
#define INVAR_POINTER(type, name, parameters, key, ...) \
	typedef type (*INVAR_READ_ invar_type_##name) parameters; \
	INVAR_PASTE_(INVAR_CHOICE_, INVAR_NINTH_(, __VA_ARGS__, 4, ?, 3, ?, 2, ?, 1, ?, ?)) \
	(invar_type_##name, name, INVAR_ONE_, (), #name, #key, invar_key_##key, __VA_ARGS__)

/* The same for a table, whose type is a struct of up to sixteen such pointers and nothing else; all lead to the functions of one key:
 * struct dsp { int (*add)(int, int), (*sub)(int, int); };
 * INVAR_TABLE(struct dsp, dsp, (add, sub), wide, (add_wide, sub_wide), (add_narrow, sub_narrow)); */
#define INVAR_TABLE(type, name, fields, key, ...) \
	typedef INVAR_READ_ type invar_type_##name; \
	INVAR_PASTE_(INVAR_CHOICE_, INVAR_NINTH_(, __VA_ARGS__, 4, ?, 3, ?, 2, ?, 1, ?, ?)) \
	(invar_type_##name, name, INVAR_FIELDS_, fields, #name, #key, invar_key_##key, __VA_ARGS__)

/* Declares a pointer, or a table, that another object file of this module defines. */
#define INVAR_EXTERN_POINTER(type, name, parameters) extern INVAR_HIDDEN type (*INVAR_READ_ name) parameters INVAR_SYMBOL_(name)
#define INVAR_EXTERN_TABLE(type, name) extern INVAR_HIDDEN INVAR_READ_ type name INVAR_SYMBOL_(name)

/* Begins a critical section, which should not be preempted, and ends it. A lock enters before its attempt to take the lock, and
 * leaves after it has let go; a failed attempt leaves. Keep it short; make no system call in it, do not nest it, and
 * begin another after any sleep. Else only the benefit is lost. Both are compiler barriers. */
#define invar_slice_enter() INVAR_SLICE_SITE_(2, invar2_slice_request_)
#define invar_slice_leave() INVAR_SLICE_SITE_(3, invar2_slice_withdraw_)

/* The functions of libinvar. References to them are weak: where libinvar may be absent, look first whether they are null.
 * Call them from any thread, but not inside a critical section. */

/* What functions return. A negative number is an errno of the kernel's with its sign changed. */
enum {
	INVAR_OK = 0,
	INVAR_ABSENT = 1,		/* the slice extension is absent; the time slice key's evidence says why */
	INVAR_NO_AREA = 2,		/* libc registers areas, and has none for this thread */
	INVAR_OTHER_AREA = 3,		/* other code registered an area for this thread */
	INVAR_NO_KEY = 4,		/* no module has decided a key of this name */
	INVAR_INVALID = 5,		/* an argument is wrong */
	INVAR_NOT_COUNTED = 6,		/* nothing is counted */
	INVAR_OTHER_FILTERS = 7,	/* another thread has other seccomp filters */
	INVAR_KILLED = 8,		/* a seccomp filter kills a process that installs another */
	INVAR_ENDING = 9,		/* the thread is about to end, and has given its area back */
	INVAR_IN_HANDLER = 10,		/* the caller is a signal's handler, on an alternate signal stack or inside the loader */
	INVAR_NOT_SET = 11		/* the code of a module cannot be exchanged: the report says why */
};

/* The meaning of a code, of any number: constant text. */
INVAR_API const char *invar_strerror(int code);

/* libinvar's version: major << 16 | minor << 8 | patch. */
INVAR_API unsigned invar_version(void);

/* Copies at most `size` bytes of the verdict of the key of this name, the first in the loader's order. INVAR_NO_KEY,
 * INVAR_INVALID. */
INVAR_API int invar_key(const char *name, struct invar_verdict *verdict, size_t size);

/* A switch and one of its values, by their names. */
struct invar_setting {
	const char *name, *value;
};

/* Sets switches, up to 64 at once, in all modules of the process, while other threads run. When it returns, all code goes by the
 * new values, or, with another code than INVAR_OK, by the old ones. Sites that could not be bound before are tried again, also where the
 * switch has the value already. It takes locks, the loader's too, and needs 32 KiB of stack.
 * fork waits meanwhile, so that its children can set switches too; those of _Fork and clone cannot. Call it from no signal's handler:
 * that is refused on an alternate signal stack, and where glibc's loader is mapping or unmapping libraries. INVAR_NO_KEY: no module has
 * decided a switch of this name; INVAR_INVALID: it has no such value, or they are too many; INVAR_IN_HANDLER; INVAR_NOT_SET, or negative. */
INVAR_API int invar_set_all(const struct invar_setting *settings, size_t count);

/* The same for one. */
INVAR_API int invar_set(const char *name, const char *value);

/* What came of setting switches. A site that has several records counts for each. */
struct invar_set_counts {
	size_t size;			/* sizeof(struct invar_set_counts): no more is written */
	uint64_t bound;			/* sites of the switches that are bound to the new values, in all modules */
	uint64_t checked;		/* sites that are not bound, and test their switch at each use */
};

/* As invar_set_all, and counts the sites, unless `counts` is null. With another code than INVAR_OK it writes nothing there.
 * INVAR_INVALID also where the size has no room for itself; nothing is set then. */
INVAR_API int invar_set_counted(const struct invar_setting *settings, size_t count, struct invar_set_counts *counts);

/* Asks the probes of this module's keys and switches again, as where the process was restored or moved to another machine. Switches that
 * their own probe decided, and nobody has set since, are set to what the probes say now. No key changes: for each whose probe has another
 * answer than its verdict, `differs` is called, unless it is null, with the names of the key, of the value that it has and of the value that
 * the probe gives, which is the first where the probe fails. A constant has its number in the place of the value's name, and `default` where
 * nobody decided it. Keys that settings decided are not looked at, and of those that other modules decided only features that the CPU has
 * no more. Probes run in the calling thread. Counts and codes are
 * those of invar_set_counted; INVAR_INVALID also where more than 64 switches are to be set, INVAR_NO_KEY where libinvar is absent, and on
 * machines for which this header makes no sites:
 * int invar_rebind(void (*differs)(const char *key, const char *has, const char *is_now, void *argument), void *argument,
 *		    struct invar_set_counts *counts); */
#define invar_rebind(differs, argument, counts) invar2_rebind_(differs, argument, counts)

/* Lets other processes of the same user, and root, set switches of this process by `invar set PID NAME=VALUE`; the man page tells more.
 * Asks `allow` for each, which returns nonzero if it may be set to this value. Returns only if the kernel refuses: negative. */
INVAR_API int invar_serve(int (*allow)(const char *name, const char *value, void *argument), void *argument);

/* Makes the calling thread one that can be granted slices. The thread that loads libinvar is one. Makes no system call where
 * the thread is one already; else prctl, and rseq before it where libc registers no areas. INVAR_ABSENT, INVAR_NO_AREA,
 * INVAR_OTHER_AREA, INVAR_ENDING, or negative. */
INVAR_API int invar_slice_enrol(void);

/* The same for the contended path of a lock, which is cold and taken again and again. */
INVAR_API void invar_slice_enrol_contended(void);

/* Makes it impossible to switch the extension off, in all threads and for the rest of the process's life, by a seccomp
 * filter. The filter cannot be removed, is inherited, and may set no_new_privs: read invar(7) before. INVAR_ABSENT,
 * INVAR_OTHER_FILTERS, INVAR_KILLED, or negative. */
INVAR_API int invar_slice_guard(void);

/* Counts of this process's critical sections, where INVAR_SLICE=count or profile has them counted. */
struct invar_counts {
	size_t size;			/* sizeof(struct invar_counts): no more is written */
	uint64_t requests;		/* critical sections begun */
	uint64_t grants;		/* grants that were still there at the end */
	uint64_t yields;		/* of those, given up in time */
	uint64_t lost;			/* requests that were gone at the end, with no grant there */
};

/* INVAR_NOT_COUNTED, INVAR_INVALID. */
INVAR_API int invar_slice_counts(struct invar_counts *counts);

/* A thread, and its area as the kernel knows it. */
struct invar_thread {
	size_t size;			/* of the part that libinvar has filled in */
	uint64_t address;		/* of the area */
	uint32_t number;		/* as gettid(2) gives it */
	int32_t area;			/* INVAR_OK; INVAR_NO_AREA: it has none; negative: the error by which it could not be found out;
					 * -ETIMEDOUT: it did not stop within a second, as a thread that waits for its child after vfork */
	uint8_t enabled;		/* it can be granted time */
	uint8_t request;		/* it asks for time */
	uint8_t asleep;			/* it was asleep; a request that it has was left set, as critical sections make no system calls */
	uint8_t reserved[5];
};

/* Calls `each` for every thread of the process. A child process traces the threads one after the other: each is stopped for
 * a moment, by which a few system calls may return EINTR (signal(7)). For people and tests. INVAR_INVALID; negative where
 * /proc is not there or there is no memory. */
INVAR_API int invar_slice_audit(void (*each)(const struct invar_thread *thread, void *argument), void *argument);

/* Writes the keys and sites of all modules to a file descriptor, as text. INVAR_INVALID if the file does not take all of
 * it. */
INVAR_API int invar_report(int descriptor);

/* What stands behind the macros. No part of the interface. */

#ifdef __cplusplus
#define INVAR_ASSERT_(condition, text) static_assert(condition, text)
#else
#define INVAR_ASSERT_(condition, text) _Static_assert(condition, text)
#endif
#define INVAR_SEMICOLON_ INVAR_ASSERT_(1, "")

#define INVAR_PASTE_(first, second) INVAR_PASTED_(first, second)
#define INVAR_PASTED_(first, second) first##second
#define INVAR_SECOND_(...) INVAR_SECOND_OF_(__VA_ARGS__)
#define INVAR_SECOND_OF_(first, second, ...) second
#define INVAR_NINTH_(k1, v1, k2, v2, k3, v3, k4, v4, last, count, ...) count

/* By a label, which gcc takes for cold; it forgets what it is to expect of a number that two jumps decide. */
#if defined __clang__ || defined __cplusplus
#define INVAR_RARE_(what) __builtin_expect(!!(what), 0)
#else
#define INVAR_RARE_(what) \
	__extension__({ \
		__label__ invar_rare; \
		int invar_so = 0; \
		if (what) { \
		invar_rare: __attribute__((cold, unused)); \
			invar_so = 1; \
		} \
		invar_so; \
	})
#endif

/* Names of the runtime's own keys. In macros, names stand beside a # or ##, so that one that is a macro too stays itself. */
#define INVAR_RESERVED_slice , 1
#define INVAR_NOT_RESERVED_(...) \
	INVAR_ASSERT_(!INVAR_SECOND_(__VA_ARGS__), "`slice` is the name of a key of invar's own: give this one another")

/* In a module, clang takes `struct invar_verdict` for another one, and so the structure of a constant further down. */
typedef struct invar_verdict invar_verdict_;

#define INVAR_KEY_(key, names, probe, count, flags) \
	INVAR_ASSERT_((count) >= 2 && (count) <= 64, "a key has 2 to 64 values"); \
	INVAR_STATE_ invar_verdict_ key; \
	INVAR_KEY_RECORD_(INVAR_HIDDEN, key, names, probe, count, flags) \
	INVAR_SEMICOLON_

/* A constant's state, and its number. */
struct invar_number_ {
	struct invar_verdict state;
	uint64_t number;
};
typedef struct invar_number_ invar_constant_;

/* The probe's number, if the type has it. */
#define INVAR_CONSTANT_(key, name, probe, fallback, its_type, type) \
	typedef type its_type; \
	INVAR_ASSERT_((its_type)-1 > (its_type)0 && sizeof(its_type) <= 8, "a constant is an unsigned integer"); \
	INVAR_HIDDEN INVAR_NUMBERED_ invar_constant_ key = { { 0, 0, 0, 0, 0, 0, 0, { 0 } }, (its_type)(fallback) }; \
	static void invar_number_##key(invar_verdict_ *verdict_) \
	{ \
		(probe)(verdict_); \
		verdict_->value = verdict_->origin == INVAR_ORIGIN_PROBE; \
		if (verdict_->value && verdict_->data != (its_type)verdict_->data) \
			invar2_fail_(verdict_, "its number has more bits than its type"); \
	} \
	INVAR_NUMBER_RECORD_(key, name, invar_number_##key, sizeof(its_type)) \
	INVAR_SEMICOLON_

/* A probe as a record has it. */
#define INVAR_PROBE_(key, probe) \
	static void invar_probe_##key(invar_verdict_ *verdict_, const void *invar_record_) \
	{ \
		(void)invar_record_; \
		(probe)(verdict_); \
	}

/* Where -mcmodel=medium can reach it without a pointer. */
#ifdef __ELF__
#define INVAR_STATE_ INVAR_HIDDEN __attribute__((section(".bss.invar_states")))
#define INVAR_NUMBERED_ __attribute__((section(".data.invar_numbers")))
#else
#define INVAR_STATE_ INVAR_HIDDEN
#define INVAR_NUMBERED_
#endif

/* Where the function's type is void, ISO C would have no expression behind `return`; C++ has. */
#ifdef __cplusplus
#define INVAR_VOID_RETURNS_ _Pragma("GCC diagnostic push")
#else
#define INVAR_VOID_RETURNS_ _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wpedantic\"")
#endif

#define INVAR_DISPATCH_1(storage, type, f, ps, as, k1, v1, last) \
	INVAR_DISPATCHER_(storage type f ps, INVAR_LEVEL_(v1, as, k1), last as)
#define INVAR_DISPATCH_2(storage, type, f, ps, as, k1, v1, k2, v2, last) \
	INVAR_DISPATCHER_(storage type f ps, INVAR_LEVEL_(v1, as, k1) INVAR_LEVEL_(v2, as, invar_key_##k2), last as)
#define INVAR_DISPATCH_3(storage, type, f, ps, as, k1, v1, k2, v2, k3, v3, last) \
	INVAR_DISPATCHER_(storage type f ps, INVAR_LEVEL_(v1, as, k1) INVAR_LEVEL_(v2, as, invar_key_##k2) \
			  INVAR_LEVEL_(v3, as, invar_key_##k3), last as)
#define INVAR_DISPATCH_4(storage, type, f, ps, as, k1, v1, k2, v2, k3, v3, k4, v4, last) \
	INVAR_DISPATCHER_(storage type f ps, INVAR_LEVEL_(v1, as, k1) INVAR_LEVEL_(v2, as, invar_key_##k2) \
			  INVAR_LEVEL_(v3, as, invar_key_##k3) INVAR_LEVEL_(v4, as, invar_key_##k4), last as)
#define INVAR_DISPATCHER_(declaration, levels, last) \
	INVAR_VOID_RETURNS_ \
	declaration \
	{ \
		levels \
		return last; \
	} \
	_Pragma("GCC diagnostic pop") \
	INVAR_SEMICOLON_
#define INVAR_LEVEL_(variant, arguments, ...) \
	if (INVAR_BY_SITES_(__VA_ARGS__)) \
		return variant arguments;

/* What a condition becomes: a key alone. Any other has ?, before it, and then three things: the condition by sites, the same by the values
 * as they are now, and its name. Each is pasted behind invar_key_, as a key's name is. */
#define INVAR_BY_SITES_(...) INVAR_FIFTH_(__VA_ARGS__, INVAR_GIVEN_SITES_, , , INVAR_SITE_OF_KEY_, )(__VA_ARGS__)
#define INVAR_GIVEN_SITES_(mark, by_sites, by_values, named) by_sites
#define INVAR_SITE_OF_KEY_(key) INVAR_BRANCH_(&key, 1)
#define INVAR_BY_VALUES_(...) INVAR_FIFTH_(__VA_ARGS__, INVAR_GIVEN_VALUES_, , , INVAR_VALUE_OF_KEY_, )(__VA_ARGS__)
#define INVAR_GIVEN_VALUES_(mark, by_sites, by_values, named) by_values
#define INVAR_VALUE_OF_KEY_(key) INVAR_VALUE_(key) == 1
#define INVAR_NAMED_(name, ...) INVAR_FIFTH_(__VA_ARGS__, INVAR_GIVEN_NAME_, , , INVAR_NAME_OF_KEY_, )(name, __VA_ARGS__)
#define INVAR_GIVEN_NAME_(name, mark, by_sites, by_values, named) named
#define INVAR_NAME_OF_KEY_(name, key) name
#define INVAR_FIFTH_(...) INVAR_FIFTH_OF_(__VA_ARGS__)
#define INVAR_FIFTH_OF_(first, second, third, fourth, fifth, ...) fifth
#define invar_key_INVAR_NOT(name) ?, !INVAR_BRANCH_(&invar_key_##name, 1), INVAR_VALUE_(invar_key_##name) != 1, "not-" #name
#define invar_key_INVAR_IS(name, position) \
	?, INVAR_BRANCH_(&invar_key_##name, position), INVAR_VALUE_IS_(invar_key_##name, position, #position), #name "-" #position
#define invar_key_INVAR_AT_LEAST(name, position) \
	?, INVAR_ORDERED_(&invar_key_##name, position), INVAR_VALUE_LEAST_(invar_key_##name, position, #position), \
	#name "-" #position "-or-more"
#define INVAR_VALUE_IS_(key, position, word) \
	__extension__({ \
		INVAR_ONE_WORD_(word); \
		INVAR_VALUE_(key) == (position); \
	})
#define INVAR_VALUE_LEAST_(key, position, word) \
	__extension__({ \
		INVAR_ORDERS_(position); \
		INVAR_ONE_WORD_(word); \
		INVAR_VALUE_(key) >= (position); \
	})
#define invar_key_INVAR_AND(one, other) \
	?, (INVAR_BY_SITES_(invar_key_##one) && INVAR_BY_SITES_(invar_key_##other)), \
	(INVAR_BY_VALUES_(invar_key_##one) && INVAR_BY_VALUES_(invar_key_##other)), \
	INVAR_NAMED_(#one, invar_key_##one) "+" INVAR_NAMED_(#other, invar_key_##other)
#define invar_key_INVAR_AND_3(one, other, third) \
	?, (INVAR_BY_SITES_(invar_key_##one) && INVAR_BY_SITES_(invar_key_##other) && INVAR_BY_SITES_(invar_key_##third)), \
	(INVAR_BY_VALUES_(invar_key_##one) && INVAR_BY_VALUES_(invar_key_##other) && INVAR_BY_VALUES_(invar_key_##third)), \
	INVAR_NAMED_(#one, invar_key_##one) "+" INVAR_NAMED_(#other, invar_key_##other) "+" INVAR_NAMED_(#third, invar_key_##third)

/* Keys and functions of a pointer, or lists of functions of a table. An arm's value is the number of arms from it on. */
#define INVAR_CHOICE_1(type, name, each, fields, text, t1, k1, v1, last) \
	INVAR_CHOOSE_(type, name, INVAR_WHERE_(name, each, fields, 1, v1, t1, k1)) \
	INVAR_SLOTS_(type, name, each, fields, text "\0fallback\0" INVAR_NAMED_(t1, k1), 2, last, \
		     INVAR_RECORDS_(each, name, fields, v1, 1))
#define INVAR_CHOICE_2(type, name, each, fields, text, t1, k1, v1, k2, v2, last) \
	INVAR_CHOOSE_(type, name, INVAR_WHERE_(name, each, fields, 2, v1, t1, k1) \
		      INVAR_WHERE_(name, each, fields, 1, v2, #k2, invar_key_##k2)) \
	INVAR_SLOTS_(type, name, each, fields, text "\0fallback\0" INVAR_NAMED_(#k2, invar_key_##k2) "\0" INVAR_NAMED_(t1, k1), 3, last, \
		     INVAR_RECORDS_(each, name, fields, v1, 2) \
		     INVAR_RECORDS_(each, name, fields, v2, 1))
#define INVAR_CHOICE_3(type, name, each, fields, text, t1, k1, v1, k2, v2, k3, v3, last) \
	INVAR_CHOOSE_(type, name, INVAR_WHERE_(name, each, fields, 3, v1, t1, k1) \
		      INVAR_WHERE_(name, each, fields, 2, v2, #k2, invar_key_##k2) \
		      INVAR_WHERE_(name, each, fields, 1, v3, #k3, invar_key_##k3)) \
	INVAR_SLOTS_(type, name, each, fields, text "\0fallback\0" INVAR_NAMED_(#k3, invar_key_##k3) "\0" \
		     INVAR_NAMED_(#k2, invar_key_##k2) "\0" INVAR_NAMED_(t1, k1), 4, last, \
		     INVAR_RECORDS_(each, name, fields, v1, 3) \
		     INVAR_RECORDS_(each, name, fields, v2, 2) \
		     INVAR_RECORDS_(each, name, fields, v3, 1))
#define INVAR_CHOICE_4(type, name, each, fields, text, t1, k1, v1, k2, v2, k3, v3, k4, v4, last) \
	INVAR_CHOOSE_(type, name, INVAR_WHERE_(name, each, fields, 4, v1, t1, k1) \
		      INVAR_WHERE_(name, each, fields, 3, v2, #k2, invar_key_##k2) \
		      INVAR_WHERE_(name, each, fields, 2, v3, #k3, invar_key_##k3) \
		      INVAR_WHERE_(name, each, fields, 1, v4, #k4, invar_key_##k4)) \
	INVAR_SLOTS_(type, name, each, fields, text "\0fallback\0" INVAR_NAMED_(#k4, invar_key_##k4) "\0" \
		     INVAR_NAMED_(#k3, invar_key_##k3) "\0" INVAR_NAMED_(#k2, invar_key_##k2) "\0" INVAR_NAMED_(t1, k1), 5, last, \
		     INVAR_RECORDS_(each, name, fields, v1, 4) \
		     INVAR_RECORDS_(each, name, fields, v2, 3) \
		     INVAR_RECORDS_(each, name, fields, v3, 2) \
		     INVAR_RECORDS_(each, name, fields, v4, 1))
#define INVAR_CHOOSE_(type, name, arms) \
	extern INVAR_HIDDEN type name INVAR_SYMBOL_(name); \
	static void invar_choose_##name(invar_verdict_ *verdict_) \
	{ \
		INVAR_DECLARE_POINTERS_ \
		arms \
		invar_evidence(verdict_, "no arm holds"); \
	}
#define INVAR_WHERE_(name, each, fields, position, variants, text, ...) \
	if (INVAR_BY_VALUES_(__VA_ARGS__)) { \
		verdict_->value = position; \
		invar_evidence(verdict_, INVAR_NAMED_(text, __VA_ARGS__)); \
		INVAR_STORES_(each, name, fields, variants) \
		return; \
	}

/* What is to be done with each slot and its function; where the slot is in its table, and how many there are from it on. */
#define INVAR_ONE_(what, name, fields, variant, ...) what(name, variant, 0, 1, __VA_ARGS__)
#define INVAR_FIELDS_(what, name, fields, variants, ...) \
	INVAR_PASTE_(INVAR_EACH_, INVAR_COUNT_ fields)(what, name, fields, variants, __VA_ARGS__)
#define INVAR_COUNT_(...) INVAR_COUNTED_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, ?)
#define INVAR_COUNTED_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, count, ...) count
#define INVAR_HEAD_(...) INVAR_HEAD_OF_(__VA_ARGS__, ?)
#define INVAR_HEAD_OF_(head, ...) head
#define INVAR_OFFSET_(name, field) __builtin_offsetof(__typeof__(name), field)
#define INVAR_TAIL_(head, ...) __VA_ARGS__
#define INVAR_EACH_1(what, name, fields, variants, ...) what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 1, __VA_ARGS__)
#define INVAR_EACH_2(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 2, __VA_ARGS__) \
	INVAR_EACH_1(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_3(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 3, __VA_ARGS__) \
	INVAR_EACH_2(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_4(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 4, __VA_ARGS__) \
	INVAR_EACH_3(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_5(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 5, __VA_ARGS__) \
	INVAR_EACH_4(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_6(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 6, __VA_ARGS__) \
	INVAR_EACH_5(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_7(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 7, __VA_ARGS__) \
	INVAR_EACH_6(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_8(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 8, __VA_ARGS__) \
	INVAR_EACH_7(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_9(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 9, __VA_ARGS__) \
	INVAR_EACH_8(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_10(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 10, __VA_ARGS__) \
	INVAR_EACH_9(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_11(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 11, __VA_ARGS__) \
	INVAR_EACH_10(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_12(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 12, __VA_ARGS__) \
	INVAR_EACH_11(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_13(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 13, __VA_ARGS__) \
	INVAR_EACH_12(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_14(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 14, __VA_ARGS__) \
	INVAR_EACH_13(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_15(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 15, __VA_ARGS__) \
	INVAR_EACH_14(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)
#define INVAR_EACH_16(what, name, fields, variants, ...) \
	what(name.INVAR_HEAD_ fields, INVAR_HEAD_ variants, INVAR_OFFSET_(name, INVAR_HEAD_ fields), 16, __VA_ARGS__) \
	INVAR_EACH_15(what, name, (INVAR_TAIL_ fields), (INVAR_TAIL_ variants), __VA_ARGS__)

#ifdef __cplusplus
#define INVAR_COLD_ __attribute__((cold, noinline, unused, no_instrument_function)) INVAR_HIDDEN inline
#else
#define INVAR_COLD_ __attribute__((cold, noinline, unused, no_instrument_function)) static
#endif

/* docs/site-abi.md: what a module knows of itself, and the outcome of binding it. */
struct invar_module_ {
	uint64_t words[7];
};
struct invar_outcome_ {
	uint64_t words[5];
};

/* Functions of libinvar for this file alone. */
INVAR_API int invar_load(const struct invar_module_ *module);
INVAR_API int invar_decide(struct invar_verdict *state, const struct invar_module_ *module);
INVAR_API void invar_probe_slice(struct invar_verdict *verdict, const void *record);
INVAR_API void invar_count_request(void *site);
INVAR_API void invar_count_withdrawal(void *site);
/* For libinvar-preload: makes a module known to who reads the counts, by its addresses and its path. */
INVAR_API void invar_count_module(const void *from, const void *to, const char *path);
/* For libinvar-hook: has `create` create a thread that calls this function, and enrols before. `create` is given `with`, and the
 * function and argument to begin with; it returns 0 where there is a new thread. */
INVAR_API int invar_create_thread(int (*create)(void *, void *, void *), void *with, void *function, void *argument);

/* For invar_rebind, which gives it its own module. */
typedef void (*invar_differs_)(const char *key, const char *has, const char *is_now, void *argument);
INVAR_API int invar_rebind_module(const struct invar_module_ *module, invar_differs_ differs, void *argument, struct invar_set_counts *counts);

/* Is there if Rust's runtime is a part of this module, and loads it. It leads to the function that decides a key on demand. */
extern __attribute__((weak)) const int32_t invar2_demand[];
/* The same for the function that has this module's pointers bound. */
extern __attribute__((weak)) const int32_t invar2_pointers[];

/* Copies a verdict, or zeros, from this word on; by volatile words, since compilers make calls of libc's functions of other
 * loops. */
INVAR_INLINE_ void invar2_copy_(struct invar_verdict *to, const struct invar_verdict *from, unsigned at)
{
	typedef volatile uint64_t __attribute__((may_alias)) word;

	for (; at < sizeof *to / sizeof(word); at++)
		((word *)to)[at] = from ? ((const word *)from)[at] : 0;
}

/* Fails, and says why. */
INVAR_INLINE_ void invar2_fail_(struct invar_verdict *verdict, const char *why)
{
	invar2_copy_(verdict, 0, 0);
	verdict->origin = INVAR_ORIGIN_FAILED;
	invar_evidence(verdict, why);
}

/* The first bytes of a state: value, status, origin, and while the key is being decided why it has to fail. They change in one
 * step, so that nobody is told the first value of a key that is sealed with another one. */
union invar_head_ {
	uint8_t bytes[4];
	uint32_t word;
};
typedef uint32_t __attribute__((may_alias)) invar_word_;

/* It fails because its own probe asks for it, by way of others or not; because it was asked for meanwhile. */
enum { INVAR_ROUND_ = 1, INVAR_MEANWHILE_ = 2 };

/* A key that is being decided will fail; any other stays as it is. */
INVAR_INLINE_ void invar2_mark_(struct invar_verdict *state, unsigned why)
{
	union invar_head_ was, is;

	was.word = __atomic_load_n((invar_word_ *)state, __ATOMIC_ACQUIRE);
	do {
		is.word = was.word;
		is.bytes[3] = (uint8_t)(was.bytes[3] | why);
	} while (was.bytes[1] == 1 && !__atomic_compare_exchange_n((invar_word_ *)state, &was.word, is.word, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

/* Decides a key as libinvar does, where libinvar is not there. Meanwhile the key's data is the thread, and its length of evidence
 * how many keys this thread is deciding. */
INVAR_COLD_ void invar2_settle_(struct invar_verdict *state, uint64_t *number, void (*probe)(struct invar_verdict *, const void *),
			       const void *record, unsigned values, uint64_t thread, unsigned depth)
{
	uint64_t fallback = number ? *(volatile uint64_t *)number : 0;
	union invar_head_ was = { { 0, 1, 0, 0 } }, is = { { 0, 0, 0, 0 } };
	struct invar_verdict verdict;

	/* By the word: for a byte gcc before 14 calls a function of libatomic's on RISC-V. */
	if (!__atomic_compare_exchange_n((invar_word_ *)state, &is.word, was.word, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		invar2_mark_(state, INVAR_MEANWHILE_);
		return;
	}
	*(volatile uint16_t *)&state->evidence_length = (uint16_t)depth;
	*(volatile uint64_t *)&state->data = thread;
	invar2_copy_(&verdict, 0, 0);
	probe(&verdict, record);
	if (verdict.value >= values)
		invar2_fail_(&verdict, "the probe's value is none that the key has");
	else if (verdict.origin != INVAR_ORIGIN_PROBE) {
		verdict.value = 0;
		verdict.origin = INVAR_ORIGIN_FAILED;
	}
	if (verdict.evidence_length > sizeof verdict.evidence)
		verdict.evidence_length = sizeof verdict.evidence;
	for (;;) {
		/* A verdict with a status is another key's; of a constant, it has the number. */
		if (!number || (!verdict.value && verdict.status != 2))
			verdict.data = fallback;
		if (number)
			*(volatile uint64_t *)number = verdict.data;
		invar2_copy_(state, &verdict, 1);
		is.bytes[0] = verdict.value;
		is.bytes[1] = 2;
		is.bytes[2] = verdict.origin;
		is.bytes[3] = 0;
		if (__atomic_compare_exchange_n((invar_word_ *)state, &was.word, is.word, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return;
		invar2_fail_(&verdict, was.bytes[3] & INVAR_ROUND_ ? "its probe asks for it, by way of others or not" :
								    "it was asked for while it was being decided");
	}
}

#define INVAR_LOADED_VALUE_(key) (*(const volatile uint8_t *)&(key)->value)
#define INVAR_LOADED_(key, position) (INVAR_LOADED_VALUE_(key) == (position))
#define INVAR_LOADED_LEAST_(key, position) \
	__extension__({ \
		INVAR_ORDERS_(position); \
		INVAR_LOADED_VALUE_(key) >= (position); \
	})
#define INVAR_LOADED_SELECT_(key, count) \
	__extension__({ \
		uint8_t invar_value_ = INVAR_LOADED_VALUE_(key); \
		(int)(invar_value_ < INVAR_UP_TO_(count, INVAR_ONE_MORE_, INVAR_NOTHING_) ? invar_value_ : (count)); \
	})
#define INVAR_ORDERS_(position) \
	INVAR_ASSERT_((position) >= 1 && (position) <= 63, "a comparison with the first value has one answer only; a key has 64 values at most")

/* `what` for each value of a key that has so many, from 0 on, and `between` between two. */
#define INVAR_UP_TO_(count, what, between) INVAR_PASTE_(INVAR_UP_TO_, count)(what, between)
#define INVAR_UP_TO_1(what, between) what(0)
#define INVAR_UP_TO_2(what, between) INVAR_UP_TO_1(what, between) between() what(1)
#define INVAR_UP_TO_3(what, between) INVAR_UP_TO_2(what, between) between() what(2)
#define INVAR_UP_TO_4(what, between) INVAR_UP_TO_3(what, between) between() what(3)
#define INVAR_UP_TO_5(what, between) INVAR_UP_TO_4(what, between) between() what(4)
#define INVAR_UP_TO_6(what, between) INVAR_UP_TO_5(what, between) between() what(5)
#define INVAR_UP_TO_7(what, between) INVAR_UP_TO_6(what, between) between() what(6)
#define INVAR_UP_TO_8(what, between) INVAR_UP_TO_7(what, between) between() what(7)
#define INVAR_UP_TO_9(what, between) INVAR_UP_TO_8(what, between) between() what(8)
#define INVAR_UP_TO_10(what, between) INVAR_UP_TO_9(what, between) between() what(9)
#define INVAR_UP_TO_11(what, between) INVAR_UP_TO_10(what, between) between() what(10)
#define INVAR_UP_TO_12(what, between) INVAR_UP_TO_11(what, between) between() what(11)
#define INVAR_UP_TO_13(what, between) INVAR_UP_TO_12(what, between) between() what(12)
#define INVAR_UP_TO_14(what, between) INVAR_UP_TO_13(what, between) between() what(13)
#define INVAR_UP_TO_15(what, between) INVAR_UP_TO_14(what, between) between() what(14)
#define INVAR_UP_TO_16(what, between) INVAR_UP_TO_15(what, between) between() what(15)
#define INVAR_NOTHING_()
#define INVAR_COMMA_() ,
#define INVAR_ONE_MORE_(position) +1
#define INVAR_LOADED_NUMBER_(key) (*(const volatile uint64_t *)&(key).number)

#if INVAR_SITES

/* What is the machine's own, here and where sites are emitted: its number in the module header; a table's boundary there; how an operand is
 * written that is the address of an object; and the thread pointer, which no other thread has. By relocations of this kind GNU ld keeps the
 * boundaries out of the dynamic symbols of x86-64's modules (bfd/elflink.c, _bfd_elf_fix_symbol_flags: needs_plt). In those of other machines
 * they are, hidden, and no loader binds anything to them. */
#if defined __x86_64__
#define INVAR_MACHINE_ "62"
#define INVAR_BOUNDARY_ ".reloc ., R_X86_64_PLT32, \\boundary\n.long 0\n"
#define INVAR_SYMBOLIC_ "i"
#define INVAR_AT_(operand) "%c[" #operand "]"
#define INVAR_GET_THREAD_(thread) __asm__("{movq %%fs:0, %0|mov %0, qword ptr fs:[0]}" : "=r"(thread))	/* psABI, TLS */
#elif defined __aarch64__
#define INVAR_MACHINE_ "183"
#define INVAR_BOUNDARY_ ".long \\boundary - .\n"
#define INVAR_SYMBOLIC_ "S"
#define INVAR_AT_(operand) "%[" #operand "]"
#define INVAR_GET_THREAD_(thread) __asm__("mrs %0, tpidr_el0" : "=r"(thread))
#else
#define INVAR_MACHINE_ "243"
#define INVAR_BOUNDARY_ ".long \\boundary - .\n"
#define INVAR_SYMBOLIC_ "i"
#define INVAR_AT_(operand) "%[" #operand "]"
#define INVAR_GET_THREAD_(thread) __asm__("mv %0, tp" : "=r"(thread))
#endif

/* A key's record: docs/site-abi.md. */
struct invar_record_ {
	int32_t state, names, probe;
	uint16_t length;
	uint8_t values, flags;
};

extern INVAR_HIDDEN const struct invar_record_ invar_keys_[] __asm__("__start_invar2_keys");
extern INVAR_HIDDEN const struct invar_record_ invar_keys_end_[] __asm__("__stop_invar2_keys");
extern INVAR_HIDDEN const struct invar_module_ invar2_module __asm__("invar2_module");
extern INVAR_HIDDEN struct invar_outcome_ invar2_outcome __asm__("invar2_outcome");

/* Where a distance leads. */
INVAR_INLINE_ void *invar2_at_(const int32_t *field)
{
	return (void *)((uintptr_t)field + (uintptr_t)(intptr_t)*field);
}

INVAR_INLINE_ const struct invar_record_ *invar2_end_(void)
{
	const struct invar_record_ *end = invar_keys_end_;

	__asm__("" : "+r"(end));	/* compilers take it for another object than the start */
	return end;
}

/* Stands in the place of a probe where another key of the name has been decided. */
INVAR_COLD_ void invar2_as_decided_(struct invar_verdict *verdict, const void *twin)
{
	invar2_copy_(verdict, (const struct invar_verdict *)twin, 0);
}

INVAR_COLD_ void invar2_otherwise_(struct invar_verdict *verdict, const void *nothing)
{
	(void)nothing;
	invar2_fail_(verdict, "a key of this name and another sort, or with other values, has been decided");
}

/* Whether both are the same for so many bytes, or up to a NUL. */
INVAR_COLD_ int invar2_same_(const volatile char *one, const volatile char *other, unsigned length)
{
	for (; *one == *other; one++, other++)
		if (length ? !--length : !*one)
			return 1;
	return 0;
}

/* How many keys this thread was deciding when it began this one, with this one; 0 if it is not at it. */
INVAR_COLD_ unsigned invar2_begun_(const struct invar_verdict *state, uint64_t thread)
{
	int is_ours = __atomic_load_n(&state->status, __ATOMIC_ACQUIRE) == 1 && *(const volatile uint64_t *)&state->data == thread;

	return is_ours ? *(const volatile uint16_t *)&state->evidence_length : 0;
}

/* The same for the key of this record. Another key of its name, as C++ has in two namespaces, decides for both. A key for which
 * the thread asks that is deciding it fails, with all that it has begun since; one for which another thread asks fails alone. */
INVAR_COLD_ void invar2_settle_record_(const struct invar_record_ *record)
{
	struct invar_verdict *state = (struct invar_verdict *)invar2_at_(&record->state), *twin = state, *theirs;
	const char *names = (const char *)invar2_at_(&record->names);
	void (*probe)(struct invar_verdict *, const void *) = (void (*)(struct invar_verdict *, const void *))(uintptr_t)invar2_at_(&record->probe);
	const struct invar_record_ *other;
	const void *argument = record;
	unsigned begun, last = 0;
	uint64_t thread;

	INVAR_GET_THREAD_(thread);
	for (other = invar_keys_; other != invar2_end_(); other++) {
		theirs = (struct invar_verdict *)invar2_at_(&other->state);
		begun = invar2_begun_(theirs, thread);
		last = begun > last ? begun : last;
		if (theirs == state || !__atomic_load_n(&theirs->status, __ATOMIC_ACQUIRE) || (record->flags | other->flags) & 16 ||
		    !invar2_same_(names, (const char *)invar2_at_(&other->names), 0))
			continue;
		argument = twin = theirs;
		probe = record->flags == other->flags && record->length == other->length &&
			invar2_same_(names, (const char *)invar2_at_(&other->names), record->length) ? invar2_as_decided_ : invar2_otherwise_;
	}
	begun = invar2_begun_(twin, thread);
	if (!begun)
		invar2_mark_(twin, INVAR_MEANWHILE_);
	for (other = invar_keys_; begun && other != invar2_end_(); other++) {
		theirs = (struct invar_verdict *)invar2_at_(&other->state);
		if (invar2_begun_(theirs, thread) >= begun)
			invar2_mark_(theirs, INVAR_ROUND_);
	}
	if (__atomic_load_n(&twin->status, __ATOMIC_ACQUIRE) != 1)
		invar2_settle_(state, record->flags & 64 ? &((struct invar_number_ *)(void *)state)->number : 0, probe, argument, record->values,
			       thread, last + 1);
}

/* Has libinvar bind the module. Without libinvar, decides the module's keys: first those of invar's own, last those of IFUNC
 * symbols. */
INVAR_COLD_ void invar2_load_this_module_(void)
{
	const struct invar_record_ *record;
	int turn;

	if ((invar_load && invar_load(&invar2_module) == INVAR_OK) || invar2_demand)
		return;
	for (turn = 0; turn < 3; turn++)
		for (record = invar_keys_; record != invar2_end_(); record++)
			if (record->values && turn == (record->flags & 4 ? 2 : !(record->flags & 16)))
				invar2_settle_record_(record);
}

INVAR_COLD_ void invar2_decide_(struct invar_verdict *state)
{
	const struct invar_record_ *record;

	if (invar_decide)
		invar_decide(state, &invar2_module);
	else if (invar2_demand)
		((uint8_t (*)(struct invar_verdict *))(uintptr_t)invar2_at_(invar2_demand))(state);
	else if (!invar_load)
		for (record = invar_keys_; record != invar2_end_(); record++)
			if (invar2_at_(&record->state) == state) {
				invar2_settle_record_(record);
				break;
			}
}

#define INVAR_DECLARE_(key) extern INVAR_STATE_ invar_verdict_ key
#define INVAR_VALUE_(key) invar2_value_(&key)
INVAR_INLINE_ uint8_t invar2_value_(struct invar_verdict *state)
{
	if (__atomic_load_n(&state->status, __ATOMIC_ACQUIRE) != 2)
		invar2_decide_(state);
	return *(const volatile uint8_t *)&state->value;
}

#define INVAR_DECLARE_NUMBER_(key) extern INVAR_HIDDEN invar_constant_ key
#define INVAR_NUMBER_VALUE_(key) invar2_number_(&key)
INVAR_INLINE_ uint64_t invar2_number_(struct invar_number_ *constant)
{
	(void)invar2_value_(&constant->state);
	return *(const volatile uint64_t *)&constant->number;
}

/* The module's note, its header, its outcome, and a constructor for the function above; each once in a module, however many of its
 * object files have them. Constructors of priority 100 run before those that programs may ask for, and after Rust's standard library,
 * whose priority is 99. Empty sections are there so that their boundaries are; they have the flags of all others, since mold makes a
 * table for each sort. */
#define INVAR_MODULE_ \
	".ifndef invar2_module_here\n" \
	".set invar2_module_here, 1\n" \
	".pushsection invar2_keys, \"aR\", @progbits\n" \
	".popsection\n" \
	".weak __start_invar2_sites, __stop_invar2_sites, __start_invar2_keys, __stop_invar2_keys\n" \
	".hidden __start_invar2_sites, __stop_invar2_sites, __start_invar2_keys, __stop_invar2_keys\n" \
	".weak __ehdr_start\n" \
	".hidden __ehdr_start\n" \
	".pushsection .bss.invar2_outcome, \"aw\", @nobits\n" \
	".balign 8\n" \
	".weak invar2_outcome\n" \
	".hidden invar2_outcome\n" \
	".type invar2_outcome, @object\n" \
	".size invar2_outcome, 40\n" \
	"invar2_outcome: .zero 40\n" \
	".popsection\n" \
	".pushsection invar2_sites, \"ao\", @progbits, invar2_outcome\n" \
	".popsection\n" \
	".pushsection .data.rel.ro.invar2_module, \"awG\", @progbits, invar2_module, comdat\n" \
	".balign 8\n" \
	".weak invar2_module\n" \
	".hidden invar2_module\n" \
	".type invar2_module, @object\n" \
	".size invar2_module, 56\n" \
	"invar2_module: .byte 0x89, 0x69, 0x6e, 0x76, 0x61, 0x72, 0x0d, 0x0a\n" \
	".long 2\n" \
	".short 56, " INVAR_MACHINE_ "\n" \
	".long 0\n" \
	".irp boundary, __start_invar2_sites, __stop_invar2_sites, __start_invar2_keys, __stop_invar2_keys\n" \
	INVAR_BOUNDARY_ \
	".endr\n" \
	".long invar2_outcome - ., __ehdr_start - ., " INVAR_AT_(load) " - .\n" \
	".quad " INVAR_AT_(load) "\n" \
	".popsection\n" \
	".pushsection .note.invar, \"aGR\", @note, invar2_note, comdat\n" \
	".balign 4\n" \
	".long 6, 8, 2\n" \
	".asciz \"invar\"\n" \
	".balign 4\n" \
	".long invar2_module - ., 0\n" \
	".popsection\n" \
	".pushsection .init_array.00100, \"awG\", @init_array, invar2_constructor, comdat\n" \
	".balign 8\n" \
	".quad " INVAR_AT_(load) "\n" \
	".popsection\n" \
	".endif\n"

/* One key record, in a function that is never called: only an asm statement in a function can name objects of the program. The
 * function is not static, as clang leaves static ones out of a C++ module. */
#define INVAR_KEY_RECORD_(storage, key, names, probe, count, flags) \
	INVAR_PROBE_(key, probe) \
	__attribute__((section(".rodata.invar_names"))) static const char invar_names_##key[] = names; \
	storage void invar_record_##key(void); \
	__attribute__((used)) void invar_record_##key(void) \
	{ \
		__asm__ volatile( \
			".pushsection invar2_keys, \"aR\", @progbits\n" \
			".balign 4\n" \
			".long " INVAR_AT_(s) " - ., " INVAR_AT_(n) " - ., " INVAR_AT_(p) " - .\n" \
			".short %c[length]\n" \
			".byte %c[values], %c[bits]\n" \
			".popsection\n" \
			INVAR_MODULE_ \
			: : [s] INVAR_SYMBOLIC_(&key), [n] INVAR_SYMBOLIC_(invar_names_##key), [p] INVAR_SYMBOLIC_(invar_probe_##key), \
			    [length] "i"(sizeof invar_names_##key), [values] "i"(count), [bits] "i"(flags), \
			    [load] INVAR_SYMBOLIC_(invar2_load_this_module_)); \
	}

/* The slots, in memory that the loader makes read-only, with their fallbacks; and the records by which they are stored to, which
 * belong to the slots' section: linkers drop the function that they are written in, as nobody calls it. Compilers see no definition,
 * and so no value, and by the declaration's section that -mcmodel=medium can reach it. */
#define INVAR_READ_ const
#define INVAR_SYMBOL_(name) __asm__("invar_pointer_" #name) __attribute__((section(".data.rel.ro.invar_pointers")))
#define INVAR_DECLARE_POINTERS_ \
	if (invar2_pointers) \
		((void (*)(void))(uintptr_t)invar2_at_(invar2_pointers))();
#define INVAR_STORES_(each, name, fields, variants)
/* No name of a value has spaces: else the assembler refuses it. */
#define INVAR_ONE_WORD_(word) __asm__ volatile(".set .Linvar_word_" word ", 0")
#define INVAR_SLOTS_(type, name, each, fields, names, count, last, records) \
	INVAR_STATE_ invar_verdict_ invar_chosen_##name; \
	INVAR_KEY_RECORD_(INVAR_HIDDEN, invar_chosen_##name, names, invar_choose_##name, count, 4) \
	INVAR_HIDDEN void invar_slots_##name(void); \
	__attribute__((used)) void invar_slots_##name(void) \
	{ \
		__asm__ volatile( \
			".pushsection .data.rel.ro.invar_pointers." #name ", \"aw\", @progbits\n" \
			".balign 8\n" \
			".globl invar_pointer_" #name "\n" \
			".hidden invar_pointer_" #name "\n" \
			".type invar_pointer_" #name ", @object\n" \
			".size invar_pointer_" #name ", %c[size]\n" \
			"invar_pointer_" #name ":\n" \
			".popsection\n" \
			: : [size] "i"(sizeof(type))); \
		each(INVAR_FALLBACK_, name, fields, last, name, type) \
		INVAR_RECORDS_(each, name, fields, last, 0) \
		records \
	} \
	INVAR_SEMICOLON_
#define INVAR_FALLBACK_(slot, function, offset, left, name, type) \
	INVAR_ASSERT_(offset + 8 * left == sizeof(type), "a table has pointers and nothing else, and each is listed in its place"); \
	__asm__ volatile( \
		".pushsection .data.rel.ro.invar_pointers." #name ", \"aw\", @progbits\n" \
		".quad " INVAR_AT_(f) "\n" \
		".popsection\n" \
		: : [f] INVAR_SYMBOLIC_(function));
#define INVAR_RECORDS_(each, name, fields, variants, position) \
	each(INVAR_RECORD_, name, fields, variants, name, invar_chosen_##name, position)
#define INVAR_RECORD_(slot, function, offset, left, name, state, position) \
	{ \
		__typeof__(slot) invar_function = function; \
		(void)invar_function; \
		__asm__ volatile( \
			".pushsection invar2_sites, \"ao\", @progbits, invar_pointer_" #name "\n" \
			".balign 4\n" \
			".long " INVAR_AT_(s) " - ., " INVAR_AT_(f) " - ., " INVAR_AT_(k) " - .\n" \
			".byte 8, 4, %c[v], 0\n" \
			".popsection\n" \
			: : [s] INVAR_SYMBOLIC_(&slot), [f] INVAR_SYMBOLIC_(function), [k] INVAR_SYMBOLIC_(&state), [v] "i"(position)); \
	}

/* The same for a constant, whose second value has the name of its type. */
#define INVAR_NUMBER_RECORD_(key, name, probe, size) \
	INVAR_PROBE_(key, probe) \
	INVAR_HIDDEN void invar_record_##key(void); \
	__attribute__((used)) void invar_record_##key(void) \
	{ \
		__asm__ volatile( \
			".pushsection .rodata.invar_names, \"a\", @progbits\n" \
			"7: .asciz \"" name "\", \"default\"\n" \
			".ascii \"u\"\n" \
			".if %c[bytes] == 1\n" \
			".asciz \"8\"\n" \
			".elseif %c[bytes] == 2\n" \
			".asciz \"16\"\n" \
			".elseif %c[bytes] == 4\n" \
			".asciz \"32\"\n" \
			".else\n" \
			".asciz \"64\"\n" \
			".endif\n" \
			"8:\n" \
			".popsection\n" \
			".pushsection invar2_keys, \"aR\", @progbits\n" \
			".balign 4\n" \
			".long " INVAR_AT_(s) " - ., 7b - ., " INVAR_AT_(p) " - .\n" \
			".short 8b - 7b\n" \
			".byte 2, 64\n" \
			".popsection\n" \
			INVAR_MODULE_ \
			: : [s] INVAR_SYMBOLIC_(&key), [p] INVAR_SYMBOLIC_(invar_probe_##key), [bytes] "i"(size), [load] INVAR_SYMBOLIC_(invar2_load_this_module_)); \
	}

/* By the module that it is called in, which has a header even if it has no key. */
INVAR_COLD_ int invar2_rebind_(invar_differs_ differs, void *argument, struct invar_set_counts *counts)
{
	__asm__ volatile(INVAR_MODULE_ : : [load] INVAR_SYMBOLIC_(invar2_load_this_module_));
	return invar_rebind_module ? invar_rebind_module(&invar2_module, differs, argument, counts) : INVAR_NO_KEY;
}

/* Speculative load hardening leaves functions with an `asm goto` alone: none for it. */
#ifdef __has_feature
#if __has_feature(speculative_load_hardening)
#define INVAR_PLAIN_
#endif
#endif

#ifdef INVAR_PLAIN_
#define INVAR_NUMBER_(key, wide) INVAR_LOADED_NUMBER_(key)
#define INVAR_BRANCH_(key, position) INVAR_LOADED_(key, position)
#define INVAR_ORDERED_(key, position) INVAR_LOADED_LEAST_(key, position)
#define INVAR_SELECT_(key, count) INVAR_LOADED_SELECT_(key, count)
#define INVAR_SLICE_SITE_(kind, cold) \
	__extension__({ \
		__asm__ volatile("" : : : "memory"); \
		if (!INVAR_LOADED_(&invar_slice, 0)) \
			cold(); \
		__asm__ volatile("" : : : "memory"); \
	})
#else

/* In C++ each site is in a function of its own, which is in line: clang before 17 takes the targets of all sites in a function for
 * those of each, and so refuses an object with a destructor between two; coroutines refuse `asm goto`, and constexpr functions `goto`;
 * g++ 12 ends by a fault of its own where a coroutine has a number's site.
 * Not a lambda's: where a function has a switch or a goto, lambdas in it are taken for parts of it. */
#ifdef __cplusplus
#define INVAR_BEGIN_(type) \
	__extension__({ \
		struct invar_here_ { \
			__attribute__((always_inline, no_instrument_function)) static inline type invar_site_() {
#define INVAR_END_(result) return result; } }; invar_here_::invar_site_(); })
#else
#define INVAR_BEGIN_(type) __extension__({
#define INVAR_END_(result) result; })
#endif

#define INVAR_BRANCH_(key, position) INVAR_BRANCH_SITE_(INVAR_UNEQUAL_, 0, key, position)
#define INVAR_ORDERED_(key, position) \
	__extension__({ \
		INVAR_ORDERS_(position); \
		INVAR_BRANCH_SITE_(INVAR_BELOW_, 1, key, position); \
	})
#define INVAR_BRANCH_SITE_(jump, flags, key, position) \
	INVAR_BEGIN_(int) \
		__label__ invar_otherwise, invar_done; \
		int invar_is; \
		INVAR_SITE_(1, jump, flags, key, position, invar_otherwise); \
		invar_is = 1; \
		goto invar_done; \
	invar_otherwise: \
		invar_is = 0; \
	invar_done: \
	INVAR_END_(invar_is)

#ifdef __x86_64__

/* mov number(%rip), register; as data, so that its length and prefixes are those of docs/site-abi.md. %V is the register's name. */
#define INVAR_NUMBER_SITE_(prefixes, more, key, number_) \
	__asm__(".ifndef .Linvar_register_rax\n\t" \
		".set .Linvar_register_rax, 0\n\t" \
		".set .Linvar_register_rcx, 1\n\t" \
		".set .Linvar_register_rdx, 2\n\t" \
		".set .Linvar_register_rbx, 3\n\t" \
		".set .Linvar_register_rbp, 5\n\t" \
		".set .Linvar_register_rsi, 6\n\t" \
		".set .Linvar_register_rdi, 7\n\t" \
		".irp number, 8, 9, 10, 11, 12, 13, 14, 15\n\t" \
		".set .Linvar_register_r\\number, \\number\n\t" \
		".endr\n\t" \
		".endif\n" \
		".Linvar_site%=:\n\t" \
		".byte " prefixes " + 4 * (.Linvar_register_%V[n] >> 3), 0x8b, 5 + 8 * (.Linvar_register_%V[n] & 7)\n\t" \
		".long %c[state] + 256 - . - 4\n" \
		"3:\n\t" \
		".pushsection invar2_sites, \"ao?\", @progbits, .Linvar_site%=\n\t" \
		".balign 4\n\t" \
		".long .Linvar_site%= - ., %c[state] + 256 - ., %c[state] - .\n\t" \
		".byte 3b - .Linvar_site%=, 5, .Linvar_register_%V[n] + " more ", 0\n\t" \
		".popsection\n" \
		: [n] "=r"(number_) : [state] "i"(&key))

#define INVAR_NUMBER_(key, wide) \
	INVAR_BEGIN_(uint64_t) \
		uint64_t invar_number_; \
		if (wide) { \
			INVAR_NUMBER_SITE_("0x66, 0x66, 0x66, 0x66, 0x48", "32", key, invar_number_); \
		} else { \
			uint32_t invar_half_; \
			INVAR_NUMBER_SITE_("0x40", "0", key, invar_half_); \
			invar_number_ = invar_half_; \
		} \
	INVAR_END_(invar_number_)

/* cmpb $value, state(%rip); jne otherwise, or jb where flag 1 says that the branch is ordered. The compare is written as data, behind which no assembler pads a jump
 * (-mbranches-within-32B-boundaries). The record belongs to the code's section, and is dropped with it: as part of its group, or by
 * its symbol where the linker knows SHF_LINK_ORDER. */
#define INVAR_SITE_(kind, jump, flags, key, position, otherwise) \
	__asm__ goto(".Linvar_site%=:\n\t" \
		     ".byte " INVAR_PREFIXES_##kind "0x80, 0x3d\n\t" \
		     ".long %c[state] - . - 5\n\t" \
		     ".byte %c[value]\n\t" \
		     jump " %l[" #otherwise "]\n" \
		     "3:\n\t" \
		     ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar_site%=\n\t" \
		     ".balign 4\n\t" \
		     ".long .Linvar_site%= - ., %l[" #otherwise "] - ., %c[state] - .\n\t" \
		     ".byte 3b - .Linvar_site%=, " #kind ", %c[value], " #flags "\n\t" \
		     ".popsection\n" \
		     : : [state] "i"(key), [value] "i"(position) : "cc" : otherwise)
#define INVAR_UNEQUAL_ "jne"
#define INVAR_BELOW_ "jb"
#define INVAR_PREFIXES_1 "0x40, "
#define INVAR_PREFIXES_2 "0x66, 0x66, 0x40, "
#define INVAR_PREFIXES_3 "0x66, 0x40, "

#define INVAR_PUSH_OPTIONS_
#define INVAR_POP_OPTIONS_
#define INVAR_CLOBBERS_ "cc"
#define INVAR_SELECT_LENGTH_ "9"
#define INVAR_SELECT_NOP_ ".byte 0x40, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\n\t"
#define INVAR_LINK_(position) \
	".byte 0x40, 0x80, 0x3d\n\t" \
	".long %c[state] - . - 5\n\t" \
	".byte " #position ", 0x0f, 0x84\n\t" \
	".long %l[invar_arm_" #position "] - . - 4\n\t"

#else

/* The first half of the number's address, and the load, which is the site. What is loaded into the lower half of a register is 0 in the
 * upper one. */
#define INVAR_NUMBER_SITE_(load, more, key, number_) \
	__asm__(".ifndef .Linvar_registers\n\t" \
		".set .Linvar_registers, 1\n\t" \
		INVAR_REGISTERS_ \
		".endif\n\t" \
		INVAR_PUSH_OPTIONS_ \
		INVAR_PAGE_ \
		".Linvar_site%=:\n\t" \
		load \
		INVAR_POP_OPTIONS_ \
		".pushsection invar2_sites, \"ao?\", @progbits, .Linvar_site%=\n\t" \
		".balign 4\n\t" \
		".long .Linvar_site%= - ., " INVAR_AT_(state) " + 256 - ., " INVAR_AT_(state) " - .\n\t" \
		".byte 4, 5, .Linvar_register_%[n] + " more ", 0\n\t" \
		".popsection\n" \
		: [n] "=r"(number_) : [state] INVAR_SYMBOLIC_(&key))

#define INVAR_NUMBER_(key, wide) \
	INVAR_BEGIN_(uint64_t) \
		uint64_t invar_number_; \
		if (wide) { \
			INVAR_NUMBER_SITE_(INVAR_LOAD_WHOLE_, "32", key, invar_number_); \
		} else { \
			INVAR_NUMBER_SITE_(INVAR_LOAD_HALF_, "0", key, invar_number_); \
		} \
	INVAR_END_(invar_number_)

/* Jumps to the check, as many as the bound form has instructions. The check is in subsection 1, behind the other code of the section: with
 * that it is kept or dropped. It loads the state, compares it, and jumps back, or by its last instruction to where the site goes. No
 * instruction is a compressed one, and no linker makes one shorter. */
#define INVAR_SITE_(kind, skip, flags, key, position, otherwise) \
	__asm__ goto(INVAR_PUSH_OPTIONS_ \
		     ".Linvar_site%=:\n\t" \
		     ".rept " INVAR_INSTRUCTIONS_##kind "\n\t" \
		     INVAR_JUMP_ ".Linvar_check%=\n\t" \
		     ".endr\n\t" \
		     ".subsection 1\n\t" \
		     INVAR_COMPARE_("check", "%c[value]") \
		     skip ".Linvar_otherwise%=\n\t" \
		     INVAR_JUMP_ ".Linvar_on%=\n" \
		     ".Linvar_otherwise%=:\n\t" \
		     INVAR_JUMP_ "%l[" #otherwise "]\n\t" \
		     ".previous\n" \
		     ".Linvar_on%=:\n\t" \
		     INVAR_POP_OPTIONS_ \
		     ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar_site%=\n\t" \
		     ".balign 4\n\t" \
		     ".long .Linvar_site%= - ., .Linvar_check%= - ., " INVAR_AT_(state) " - .\n\t" \
		     ".byte 4 * " INVAR_INSTRUCTIONS_##kind ", " #kind ", %c[value], " #flags "\n\t" \
		     ".popsection\n" \
		     : : [state] INVAR_SYMBOLIC_(key), [value] "i"(position) : INVAR_CLOBBERS_ : otherwise)

#ifdef __aarch64__
#define INVAR_PUSH_OPTIONS_
#define INVAR_POP_OPTIONS_
#define INVAR_JUMP_ "b "
#define INVAR_COMPARE_(here, value) \
	".Linvar_" here "%=:\n\t" \
	"adrp x16, " INVAR_AT_(state) "\n\t" \
	"ldrb w16, [x16, #:lo12:" INVAR_AT_(state) "]\n\t" \
	"sub w16, w16, #" value "\n\t"
#define INVAR_REGISTERS_ \
	".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n\t" \
	".set .Linvar_register_x\\number, \\number\n\t" \
	".endr\n\t"
#define INVAR_PAGE_ "adrp %[n], " INVAR_AT_(state) " + 256\n"
#define INVAR_LOAD_WHOLE_ "ldr %[n], [%[n], #:lo12:" INVAR_AT_(state) " + 256]\n\t"
#define INVAR_LOAD_HALF_ "ldr %w[n], [%[n], #:lo12:" INVAR_AT_(state) " + 256]\n\t"
#define INVAR_UNEQUAL_ "cbnz w16, "
#define INVAR_BELOW_ "tbnz w16, #31, "
#define INVAR_CLOBBERS_ "x16"
#define INVAR_INSTRUCTIONS_1 "1"
#define INVAR_INSTRUCTIONS_2 "1"
#define INVAR_INSTRUCTIONS_3 "1"
#else
#define INVAR_PUSH_OPTIONS_ \
	".balign 4\n\t.subsection 1\n\t.balign 4\n\t.previous\n\t" \
	".option push\n\t.option norelax\n\t.option norvc\n"
#define INVAR_POP_OPTIONS_ ".option pop\n\t"
#define INVAR_REGISTERS_ \
	".set .Linvar_value, 0\n\t" \
	".irp name, zero, ra, sp, gp, tp, t0, t1, t2, s0, s1, a0, a1, a2, a3, a4, a5, a6, a7, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, t3, t4, t5, t6\n\t" \
	".set .Linvar_register_\\name, .Linvar_value\n\t" \
	".set .Linvar_value, .Linvar_value + 1\n\t" \
	".endr\n\t"
#define INVAR_PAGE_ ".Linvar_page%=: auipc %[n], %%pcrel_hi(" INVAR_AT_(state) " + 256)\n"
#define INVAR_LOAD_WHOLE_ "ld %[n], %%pcrel_lo(.Linvar_page%=)(%[n])\n\t"
#define INVAR_LOAD_HALF_ "lwu %[n], %%pcrel_lo(.Linvar_page%=)(%[n])\n\t"
#define INVAR_JUMP_ "j "
#define INVAR_COMPARE_(here, value) \
	".Linvar_" here "%=:\n\t" \
	"auipc t6, %%pcrel_hi(" INVAR_AT_(state) ")\n\t" \
	"lbu t6, %%pcrel_lo(.Linvar_" here "%=)(t6)\n\t" \
	"li t5, " value "\n\t"
#define INVAR_UNEQUAL_ "bne t5, t6, "
#define INVAR_BELOW_ "bltu t6, t5, "
#define INVAR_CLOBBERS_ "t5", "t6"
#define INVAR_INSTRUCTIONS_1 "1"
#define INVAR_INSTRUCTIONS_2 "2"
#define INVAR_INSTRUCTIONS_3 "4"
#endif
#define INVAR_SELECT_LENGTH_ "4"
#define INVAR_SELECT_NOP_ "nop\n\t"
#define INVAR_LINK_(position) \
	INVAR_COMPARE_("link_" #position "_", #position) \
	INVAR_UNEQUAL_ ".Linvar_next_" #position "_%=\n\t" \
	INVAR_JUMP_ "%l[invar_arm_" #position "]\n" \
	".Linvar_next_" #position "_%=:\n\t"

#endif

/* A nop, and behind it the chain: a compare and a jump for each value. A record for each value says where that goes. Who comes to the
 * chain's end met a switch that was being set, and begins again; or the key has more values. */
#define INVAR_SELECT_(key, count) \
	INVAR_BEGIN_(int) \
		__label__ invar_again, invar_done; \
		INVAR_UP_TO_(count, INVAR_ARM_LABEL_, INVAR_NOTHING_) \
		int invar_is; \
	invar_again: \
		__asm__ goto(INVAR_PUSH_OPTIONS_ \
			     ".Linvar_site%=:\n\t" \
			     INVAR_SELECT_NOP_ \
			     INVAR_UP_TO_(count, INVAR_LINK_, INVAR_NOTHING_) \
			     INVAR_POP_OPTIONS_ \
			     ".pushsection invar2_sites, \"ao?\", @progbits, .Linvar_site%=\n\t" \
			     ".balign 4\n\t" \
			     INVAR_UP_TO_(count, INVAR_ARM_RECORD_, INVAR_NOTHING_) \
			     ".popsection\n" \
			     : : [state] INVAR_SYMBOLIC_(key) : INVAR_CLOBBERS_ : INVAR_UP_TO_(count, INVAR_ARM_NAME_, INVAR_COMMA_)); \
		if (INVAR_LOADED_VALUE_(key) < count) \
			goto invar_again; \
		invar_is = count; \
		goto invar_done; \
		INVAR_UP_TO_(count, INVAR_ARM_, INVAR_NOTHING_) \
	invar_done: \
	INVAR_END_(invar_is)
#define INVAR_ARM_LABEL_(position) __label__ invar_arm_##position;
#define INVAR_ARM_NAME_(position) invar_arm_##position
#define INVAR_ARM_(position) \
	invar_arm_##position: \
		invar_is = position; \
		goto invar_done;
#define INVAR_ARM_RECORD_(position) \
	".long .Linvar_site%= - ., %l[invar_arm_" #position "] - ., " INVAR_AT_(state) " - .\n\t" \
	".byte " INVAR_SELECT_LENGTH_ ", 6, " #position ", 0\n\t"

#define INVAR_SLICE_SITE_(kind, cold) \
	INVAR_BEGIN_(void) \
		__label__ invar_otherwise, invar_done; \
		__asm__ volatile("" : : : "memory"); \
		INVAR_SITE_(kind, INVAR_UNEQUAL_, 0, &invar_slice, 0, invar_otherwise); \
		goto invar_done; \
	invar_otherwise: \
		cold(); \
	invar_done: \
		__asm__ volatile("" : : : "memory"); \
	INVAR_END_()

#endif

/* The module's copy of the time slice key. */
extern INVAR_STATE_ struct invar_verdict invar_slice __asm__("invar2_slice");

INVAR_COLD_ void invar2_probe_slice_(struct invar_verdict *verdict, const void *record)
{
	if (invar_probe_slice)
		invar_probe_slice(verdict, record);
	else
		invar2_fail_(verdict, "libinvar is not there to probe");
}

/* Its record, wherever a critical section begins. */
#define INVAR_SLICE_KEY_ \
	__asm__ volatile( \
		".ifndef invar2_slice_here\n" \
		".set invar2_slice_here, 1\n" \
		".pushsection .bss.invar2_slice, \"aw\", @nobits\n" \
		".balign 8\n" \
		".weak invar2_slice\n" \
		".hidden invar2_slice\n" \
		".type invar2_slice, @object\n" \
		".size invar2_slice, 256\n" \
		"invar2_slice: .zero 256\n" \
		".popsection\n" \
		".pushsection .rodata.invar2_slice, \"a\", @progbits\n" \
		"7: .asciz \"slice\", \"off\", \"on\"\n" \
		"8:\n" \
		".popsection\n" \
		".pushsection invar2_keys, \"aR\", @progbits\n" \
		".balign 4\n" \
		".long invar2_slice - ., 7b - ., " INVAR_AT_(p) " - .\n" \
		".short 8b - 7b\n" \
		".byte 2, 26\n" \
		".popsection\n" \
		".endif\n" \
		INVAR_MODULE_ \
		: : [p] INVAR_SYMBOLIC_(invar2_probe_slice_), [load] INVAR_SYMBOLIC_(invar2_load_this_module_))

/* Where requests are counted the outcome's request is none (docs/site-abi.md), so that no slice site is bound. */
#define INVAR_IS_COUNTED_() (((const volatile int32_t *)&invar2_outcome)[4] == 0)

/* A request; its end, which says whether it was still there, and granted; and a system call without arguments. Elsewhere than on x86-64 the
 * request is taken back first, and then granted looked at: no grant begins any more (Linux, Documentation/userspace-api/rseq.rst). */
#ifdef __x86_64__
#define INVAR_REQUEST_(area) __asm__ volatile("{movb $1, %%fs:28(%0)|mov byte ptr fs:[%0 + 28], 1}" : : "r"(area) : "memory")
#define INVAR_WITHDRAW_(area, kept, granted) \
	__asm__ volatile("{shrb $1, %%fs:28(%1)|shr byte ptr fs:[%1 + 28], 1}\n\tsetc %0" : "=q"(kept) : "r"(area) : "memory", "cc"); \
	__asm__ volatile("{movb %%fs:29(%1), %0|mov %0, fs:[%1 + 29]}" : "=q"(granted) : "r"(area) : "memory")
#define INVAR_YIELD_(yield) __asm__ volatile("syscall" : "+a"(yield) : : "rcx", "r11", "memory", "cc")
#else
INVAR_INLINE_ volatile unsigned char *invar2_request_(intptr_t area)
{
	uintptr_t thread;

	INVAR_GET_THREAD_(thread);
	return (volatile unsigned char *)(thread + (uintptr_t)area + 28);
}
#define INVAR_REQUEST_(area) *invar2_request_(area) = 1
#define INVAR_WITHDRAW_(area, kept, granted) *invar2_request_(area) = kept = 0, granted = invar2_request_(area)[1]
#ifdef __aarch64__
#define INVAR_YIELD_(yield) \
	register long invar_number __asm__("x8") = yield; \
	__asm__ volatile("svc #0" : : "r"(invar_number) : "x0", "memory", "cc")
#else
#define INVAR_YIELD_(yield) \
	register long invar_number __asm__("a7") = yield; \
	__asm__ volatile("ecall" : : "r"(invar_number) : "a0", "memory")
#endif
#endif

/* The paths of unbound sites, and of the rare end of a bound critical section that was granted time. Distances are from the thread
 * pointer; the request is byte 28 of the area, and granted is the byte behind it (Linux, include/uapi/linux/rseq.h). */
INVAR_COLD_ void invar2_slice_request_(void)
{
	INVAR_SLICE_KEY_;
	if (INVAR_IS_COUNTED_() && invar_count_request)
		invar_count_request(__builtin_return_address(0));
	else
		INVAR_REQUEST_((intptr_t)(int32_t)invar_slice.data);
}

INVAR_COLD_ void invar2_slice_withdraw_(void)
{
	intptr_t area = (int32_t)invar_slice.data;
	long yield = (int32_t)(invar_slice.data >> 32);
	unsigned char kept, granted;

	if (INVAR_IS_COUNTED_() && invar_count_withdrawal) {
		invar_count_withdrawal(__builtin_return_address(0));
		return;
	}
	INVAR_WITHDRAW_(area, kept, granted);
	if (!kept && granted && yield >= 0) {
		INVAR_YIELD_(yield);
	}
}

#else /* no sites */

#define INVAR_DECLARE_(key) extern INVAR_STATE_ invar_verdict_ key; void INVAR_HIDDEN invar2_decide_##key(void)
#define INVAR_KEY_RECORD_(storage, key, names, probe, count, flags) \
	INVAR_PROBE_(key, probe) \
	storage void invar2_decide_##key(void); \
	INVAR_CONSTRUCTOR_(key) void invar2_decide_##key(void) { invar2_settle_(&key, 0, invar_probe_##key, 0, count, 0, 0); }
#define INVAR_NUMBER_RECORD_(key, name, probe, size) \
	INVAR_PROBE_(key, probe) \
	INVAR_HIDDEN void invar2_decide_##key(void); \
	INVAR_CONSTRUCTOR_(key) void invar2_decide_##key(void) { invar2_settle_(&key.state, &key.number, invar_probe_##key, 0, 2, 0, 0); }
#define INVAR_DECLARE_NUMBER_(key) extern INVAR_HIDDEN invar_constant_ key; void INVAR_HIDDEN invar2_decide_##key(void)
#define INVAR_NUMBER_VALUE_(key) ((void)invar2_value_(&key.state, invar2_decide_##key), INVAR_LOADED_NUMBER_(key))
#define INVAR_NUMBER_(key, wide) INVAR_LOADED_NUMBER_(key)
/* Before the constructors that programs may ask for, which are from 101 on. */
#ifdef __ELF__
#define INVAR_CONSTRUCTOR_(key) \
	__attribute__((used, section(".init_array.00100"))) static void (*invar_constructor_##key)(void) = invar2_decide_##key;
#else
#define INVAR_CONSTRUCTOR_(key) __attribute__((constructor(101)))
#endif
#define INVAR_VALUE_(key) invar2_value_(&key, invar2_decide_##key)
INVAR_INLINE_ uint8_t invar2_value_(struct invar_verdict *state, void (*decide)(void))
{
	if (__atomic_load_n(&state->status, __ATOMIC_ACQUIRE) != 2)
		decide();
	return *(const volatile uint8_t *)&state->value;
}
#define INVAR_BRANCH_(key, position) INVAR_LOADED_(key, position)
#define INVAR_ORDERED_(key, position) INVAR_LOADED_LEAST_(key, position)
#define INVAR_SELECT_(key, count) INVAR_LOADED_SELECT_(key, count)
#define INVAR_SLICE_SITE_(kind, cold) __extension__({ __asm__ volatile("" : : : "memory"); })
INVAR_INLINE_ int invar2_rebind_(invar_differs_ differs, void *argument, struct invar_set_counts *counts)
{
	(void)differs, (void)argument, (void)counts;
	return INVAR_NO_KEY;
}

/* Pointers are variables, to which the probe of their key stores. */
#define INVAR_READ_
#define INVAR_SYMBOL_(name)
#define INVAR_DECLARE_POINTERS_
#define INVAR_STORES_(each, name, fields, variants) each(INVAR_STORE_, name, fields, variants, 0)
#define INVAR_ONE_WORD_(word) ((void)0)
#define INVAR_STORE_(slot, function, offset, left, nothing) slot = function;
#define INVAR_SLOTS_(type, name, each, fields, names, count, last, records) \
	INVAR_HIDDEN type name = { each(INVAR_FALLBACK_, name, fields, last, 0) }; \
	INVAR_STATE_ invar_verdict_ invar_chosen_##name; \
	INVAR_KEY_RECORD_(INVAR_HIDDEN, invar_chosen_##name, names, invar_choose_##name, count, 4) \
	INVAR_SEMICOLON_
#define INVAR_FALLBACK_(slot, function, offset, left, nothing) function,
#define INVAR_RECORDS_(each, name, fields, variants, position)

#endif

#ifdef __cplusplus
}
#endif
#endif
