/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Threads of static programs, enrolled before their own code runs: linked with --wrap=pthread_create and
 * --wrap=thrd_create, as invar.pc has it for static links. The shared library does it by functions of these names.
 */
#include <invar.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument);
int __real_thrd_create(thrd_t *thread, thrd_start_t routine, void *argument);

/* What a new thread begins with. */
struct start {
	union {
		void *(*posix)(void *);
		thrd_start_t c11;
	} routine;
	void *argument;
};

static struct start begin(void *start)
{
	struct start begun = *(struct start *)start;

	free(start);
	/* A thread that cannot be enrolled is one like any other. */
	invar_slice_enrol();
	return begun;
}

static void *begin_posix(void *start)
{
	struct start begun = begin(start);

	return begun.routine.posix(begun.argument);
}

static int begin_c11(void *start)
{
	struct start begun = begin(start);

	return begun.routine.c11(begun.argument);
}

/* NULL where slices are off, or there is no memory: then the thread is created as if nobody stood in between. */
static struct start *start_of(void *argument)
{
	struct invar_verdict slice;
	struct start *start;

	/* The reference is weak: these wrappers alone do not take the library out of the archive. */
	if (!invar_key || invar_key("slice", &slice, 1) != INVAR_OK || !slice.value)
		return NULL;
	start = malloc(sizeof *start);
	if (start)
		start->argument = argument;
	return start;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument)
{
	struct start *start = start_of(argument);
	int error;

	if (!start)
		return __real_pthread_create(thread, attributes, routine, argument);
	start->routine.posix = routine;
	error = __real_pthread_create(thread, attributes, begin_posix, start);
	if (error)
		free(start);
	return error;
}

int __wrap_thrd_create(thrd_t *thread, thrd_start_t routine, void *argument)
{
	struct start *start = start_of(argument);
	int error;

	if (!start)
		return __real_thrd_create(thread, routine, argument);
	start->routine.c11 = routine;
	error = __real_thrd_create(thread, begin_c11, start);
	if (error != thrd_success)
		free(start);
	return error;
}
