/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Threads that are enrolled before their own code runs, in a library of its own: libinvar-hook.so.0 has functions of the
 * C library's names, which are found before the C library's own; libinvar-hook.a has what --wrap asks for, since a static
 * program has one function of a name. They only stand in front: how a thread enrols before its own code runs is
 * libinvar's to know (src/timeslice/hook/start.rs).
 */
#ifdef INVAR_HOOK_SHARED
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#endif
#include <invar.h>
#include <pthread.h>
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

/* What a thread is created with, beside its routine. */
struct with {
	void *thread;
	const pthread_attr_t *attributes;
};

static int create_posix(void *argument, void *routine, void *its_argument)
{
	struct with *with = argument;

	return next_posix()(with->thread, with->attributes, (void *(*)(void *))routine, its_argument);
}

static int create_c11(void *argument, void *routine, void *its_argument)
{
	struct with *with = argument;

	return next_c11()(with->thread, (thrd_start_t)routine, its_argument);
}

/* Where libinvar is not there, as if nobody stood in between. */
static int create(int (*creator)(void *, void *, void *), struct with *with, void *routine, void *argument)
{
	return (invar_create_thread ? invar_create_thread(creator, with, routine, argument) :
				      creator(with, routine, argument));
}

int IN_FRONT_OF(pthread_create)(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *),
				void *argument)
{
	struct with with = { thread, attributes };

	return create(create_posix, &with, (void *)routine, argument);
}

int IN_FRONT_OF(thrd_create)(thrd_t *thread, thrd_start_t routine, void *argument)
{
	struct with with = { thread, NULL };

	return create(create_c11, &with, (void *)routine, argument);
}

#if INVAR_SITES && defined INVAR_HOOK_SHARED

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
