/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Threads that are enrolled before their own code runs, in a library of its own: libinvar-hook.so.0 has functions of the
 * C library's names, which are found before the C library's own; libinvar-hook.a has what --wrap asks for, since a static
 * program has one function of a name.
 */
#ifdef INVAR_HOOK_SHARED
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#endif
#include <invar.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

typedef int posix_creator(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
typedef int c11_creator(thrd_t *, thrd_start_t, void *);

#ifdef INVAR_HOOK_SHARED

#define IN_FRONT_OF(name) __attribute__((visibility("default"))) name

/* What -linvar-hook refers to, so that the library is needed. */
__attribute__((visibility("default"))) void invar_hook(void);
void invar_hook(void)
{
}

/* The function of this name behind this library; NULL if there is none. */
static void *behind(void **known, const char *name)
{
	void *found = __atomic_load_n(known, __ATOMIC_RELAXED);

	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		__atomic_store_n(known, found, __ATOMIC_RELAXED);
	}
	return found;
}

static posix_creator *next_posix(void)
{
	static void *known;

	return (posix_creator *)behind(&known, "pthread_create");
}

static c11_creator *next_c11(void)
{
	static void *known;

	return (c11_creator *)behind(&known, "thrd_create");
}

#else

#define IN_FRONT_OF(name) __wrap_##name

posix_creator __wrap_pthread_create, __real_pthread_create;
c11_creator __wrap_thrd_create, __real_thrd_create;

static posix_creator *next_posix(void)
{
	return __real_pthread_create;
}

static c11_creator *next_c11(void)
{
	return __real_thrd_create;
}

#endif

/* What a new thread begins with. */
struct start {
	union {
		void *(*posix)(void *);
		thrd_start_t c11;
	} routine;
	void *argument;
	struct start *next;
};

/* Those that can be had again: as many as there were threads at a time that had been created and did not run yet. They stay.
 * A new thread that called free would have glibc make it an arena, by four system calls (seen with glibc 2.36). */
static struct start *spare;

/* Gives back a list, from its first to its last. */
static void give_back(struct start *first, struct start *last)
{
	last->next = __atomic_load_n(&spare, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&spare, &last->next, first, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

/* NULL if there is no memory. */
static struct start *start_of(void *argument)
{
	/* All of them, so that no two threads can take the same. */
	struct start *start = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE), *last;

	if (!start)
		start = malloc(sizeof *start);
	else if (start->next) {
		for (last = start->next; last->next; last = last->next)
			;
		give_back(start->next, last);
	}
	if (start)
		start->argument = argument;
	return start;
}

/* In the new thread, before anything else. */
static struct start begin(void *argument)
{
	struct start *start = argument, begun = *start;

	give_back(start, start);
	/* A thread that cannot be enrolled is one like any other. */
	if (invar_slice_enrol)
		invar_slice_enrol();
	return begun;
}

/* By a jump, so that no frame is left behind, and unwinding meets nobody's code but the thread's own. */
static void *begin_posix(void *argument)
{
	struct start begun = begin(argument);

	return begun.routine.posix(begun.argument);
}

static int begin_c11(void *argument)
{
	struct start begun = begin(argument);

	return begun.routine.c11(begun.argument);
}

/* Whether slices are on: a bound branch. */
static inline int are_slices_on(void)
{
#if INVAR_SITES
	return INVAR_BRANCH_(&invar_slice, 1);
#else
	return 0;
#endif
}

int IN_FRONT_OF(pthread_create)(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *),
				void *argument)
{
	posix_creator *create = next_posix();
	struct start *start = are_slices_on() ? start_of(argument) : NULL;
	int error;

	/* As if nobody stood in between; also where there is no memory. */
	if (!start)
		return create(thread, attributes, routine, argument);
	start->routine.posix = routine;
	error = create(thread, attributes, begin_posix, start);
	if (error)
		give_back(start, start);
	return error;
}

int IN_FRONT_OF(thrd_create)(thrd_t *thread, thrd_start_t routine, void *argument)
{
	c11_creator *create = next_c11();
	struct start *start = are_slices_on() ? start_of(argument) : NULL;
	int error;

	if (!start)
		return create(thread, routine, argument);
	start->routine.c11 = routine;
	error = create(thread, begin_c11, start);
	if (error != thrd_success)
		give_back(start, start);
	return error;
}

#if INVAR_SITES

/* The slice key, as this library or program has it. */
__attribute__((used)) static void slice_key(void)
{
	INVAR_SLICE_KEY_;
}

#ifdef INVAR_HOOK_SHARED

/* Whether this library's function is what others find. The evidence says whose it is, if not. */
static void probe_in_front(struct invar_verdict *verdict)
{
	void *found = dlsym(RTLD_DEFAULT, "pthread_create");
	posix_creator *own = pthread_create;
	Dl_info owner;

	verdict->value = !found || found == (void *)own;
	if (verdict->value)
		invar_evidence(verdict, "threads are enrolled when they are created");
	else {
		invar_evidence(verdict, "in front of this pthread_create stands that of ");
		invar_evidence(verdict, dladdr(found, &owner) && owner.dli_fname ? owner.dli_fname : "another module");
	}
}

static struct invar_verdict in_front;
INVAR_KEY_RECORD_(static, in_front, "slice.hook\0off\0on", probe_in_front, 2, 16)

#endif
#endif
