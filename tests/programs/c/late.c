/* late MODE ROUNDS RESIDENT LIBRARY...: opens libraries (hosted.c, or ../native) while threads execute the sites of one that stays, RESIDENT,
 * and those of the new one, which starts them before it is bound. Says what came of it. Nothing in here has sites.
 *
 *	turns	opens one, asks it, ends its threads, closes it; again and again
 *	both	the same in two threads that open two at the same time
 *	spaces	opens each in a namespace of its own, and closes all at the end
 *	fork, vfork, spawn	as turns, while another thread makes children, which execute sites, or another program
 *	signals	as turns, while a timer of 10 kHz has a handler execute sites
 *	until	as turns, until its standard input ends
 *
 * With -DBINDER it has the binder in C bind libraries in C, in libinvar's place. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef BINDER
#define INVAR_PORTABLE
#include "binder.h"

static int bind_if_it_is(struct dl_phdr_info *info, size_t size, void *header)
{
	struct invar_module module = {
		.base = info->dlpi_addr, .headers = info->dlpi_phdr, .count = info->dlpi_phnum, .path = info->dlpi_name,
		.writers = INVAR_WRITER_SWAP | INVAR_WRITER_MEMFD,
	};

	(void)size;
	for (const ElfW(Phdr) *at = info->dlpi_phdr; at < info->dlpi_phdr + info->dlpi_phnum; at++)
		if (at->p_type == PT_LOAD && (uintptr_t)header - (info->dlpi_addr + at->p_vaddr) < at->p_memsz)
			return invar_bind(&module), 1;
	return 0;
}

/* What the constructors of libraries in C call. */
int invar_load(const struct invar_module_ *header)
{
	dl_iterate_phdr(bind_if_it_is, (void *)header);
	return INVAR_OK;
}
#endif

enum { THREADS = 2, WARM = 6, CALL = 0, SITES, BOUND, DURING, END };
typedef unsigned long (*asking)(unsigned);
typedef unsigned long (*checking)(void);

static asking resident;
static checking met;
static int users, is_over, rounds, can_meet;
static unsigned long wrong, sites, bound, during, calls, meetings, children, signals;
static char **libraries;

static void add(unsigned long *sum, unsigned long more) { __atomic_add_fetch(sum, more, __ATOMIC_SEQ_CST); }

/* What a library tells that is being loaded. It may be unloaded once nobody executes it any more. */
void host_meets(checking check)
{
	__atomic_store_n(&met, check, __ATOMIC_SEQ_CST);
	while (!check && __atomic_load_n(&users, __ATOMIC_SEQ_CST))
		sched_yield();
}

/* Executes the sites of the library that stays, and of one that is there for a while. */
static unsigned long look(int *has_met)
{
	checking check;
	unsigned long mistakes = resident(CALL);

	__atomic_add_fetch(&users, 1, __ATOMIC_SEQ_CST);
	check = __atomic_load_n(&met, __ATOMIC_SEQ_CST);
	if (check) {
		mistakes += check();
		*has_met = 1;
	}
	__atomic_sub_fetch(&users, 1, __ATOMIC_SEQ_CST);
	return mistakes;
}

static void *run(void *nothing)
{
	while (!__atomic_load_n(&is_over, __ATOMIC_SEQ_CST)) {
		for (int at = 0; at < 100; at++)
			add(&wrong, resident(CALL));
		add(&calls, 100);
		/* Those whom it waits for in a library get on. */
		usleep(200);
	}
	return nothing;
}

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	_exit(3);
}

static void child_is_right(pid_t child)
{
	int status;

	if (child == -1 || waitpid(child, &status, 0) != child)
		die("no child");
	/* It says 1 if it was right, and 2 if it has met a library. */
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 0 || WEXITSTATUS(status) > 2)
		add(&wrong, 1);
	else
		add(&meetings, WEXITSTATUS(status) == 2);
	add(&children, 1);
}

static void *make_children(void *how)
{
	extern char **environ;
	char *program[] = {"/bin/sh", "-c", "exit 1", NULL};

	while (!__atomic_load_n(&is_over, __ATOMIC_SEQ_CST)) {
		int has_met = 0;
		pid_t child = -1;

		if (!strcmp(how, "fork")) {
			if (!(child = fork()))
				_exit(look(&has_met) ? 0 : 1 + has_met);
		} else if (!strcmp(how, "vfork")) {
			volatile int meets = 0;

			if (!(child = vfork())) {
				int own = 0;

				if (look(&own))
					_exit(0);
				meets = own;
				execv(program[0], program);
				_exit(0);
			}
			add(&meetings, (unsigned long)meets);
		} else if (posix_spawn(&child, program[0], NULL, NULL, program, environ)) {
			die("no child");
		}
		child_is_right(child);
	}
	return NULL;
}

static void handle(int signal)
{
	int has_met = 0;

	(void)signal;
	add(&wrong, look(&has_met));
	add(&meetings, (unsigned long)has_met);
	add(&signals, 1);
}

static void *open_library(const char *path, int is_apart, asking *ask)
{
	void *library = is_apart ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!library || !(*ask = (asking)dlsym(library, "hosted_ask")))
		die(dlerror());
	return library;
}

static void ask_it(asking ask)
{
	for (int at = 0; at < 3; at++)
		add(&wrong, ask(CALL));
	add(&sites, ask(SITES));
	add(&bound, ask(BOUND));
	add(&during, ask(DURING));
	add(&wrong, ask(END));
}

static void turn(const char *path)
{
	asking ask;
	void *library = open_library(path, 0, &ask);

	ask_it(ask);
	if (dlclose(library))
		die(dlerror());
}

static int mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int lines = 0, byte;

	while ((byte = getc(maps)) != EOF)
		lines += byte == '\n';
	fclose(maps);
	return lines;
}

static pthread_barrier_t both;

static void *turn_at_once(void *path)
{
	for (int round = 0; round < rounds; round++) {
		pthread_barrier_wait(&both);
		turn(path);
		pthread_barrier_wait(&both);
	}
	return NULL;
}

static void by_two(void)
{
	pthread_t other;


	pthread_barrier_init(&both, NULL, 2);
	pthread_create(&other, NULL, turn_at_once, libraries[1]);
	turn_at_once(libraries[0]);
	pthread_join(other, NULL);
}

static void apart(void)
{
	void *opened[8];
	int count;

	for (count = 0; libraries[count]; count++) {
		asking ask;

		opened[count] = open_library(libraries[count], 1, &ask);
		ask_it(ask);
	}
	while (count--)
		dlclose(opened[count]);
}

static int go_on(int round, int until)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};

	/* What comes in between has come. */
	int seen = __atomic_load_n(&during, __ATOMIC_SEQ_CST) && (!can_meet || __atomic_load_n(&meetings, __ATOMIC_SEQ_CST));

	return until ? !poll(&input, 1, 0) : round < rounds || (!seen && round < 100 * rounds);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 4 ? argv[1] : "none";
	int until = !strcmp(mode, "until"), before, round = 0;
	pthread_attr_t attributes;
	pthread_t threads[THREADS], other;
	void *(*beside)(void *) = NULL;
	timer_t timer;

	if (argc <= 4)
		die("MODE ROUNDS RESIDENT LIBRARY...");
	rounds = atoi(argv[2]);
	libraries = argv + 4;
	/* Libc keeps as many stacks as fit in forty megabytes. */
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1 << 20);
	pthread_setattr_default_np(&attributes);
	can_meet = !strcmp(mode, "fork") || !strcmp(mode, "vfork") || !strcmp(mode, "signals");
	open_library(argv[3], 0, &resident);
	for (int at = 0; at < THREADS; at++)
		pthread_create(threads + at, NULL, run, NULL);
	if (!strcmp(mode, "signals")) {
		struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
		struct itimerspec often = {{0, 100000}, {0, 100000}};
		struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};

		if (sigaction(SIGALRM, &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL))
			die("no timer");
	} else if (!strcmp(mode, "fork") || !strcmp(mode, "vfork") || !strcmp(mode, "spawn")) {
		beside = make_children;
		pthread_create(&other, NULL, beside, (void *)mode);
	}
	puts("ready");
	fflush(stdout);

	if (!strcmp(mode, "spaces")) {
		before = mappings();
		apart();
	} else if (!strcmp(mode, "both")) {
		rounds = WARM;
		by_two();
		rounds = atoi(argv[2]);
		before = mappings();
		do
			by_two();
		while (!during && ++round < 100);
	} else {
		for (round = 0; round < WARM; round++)
			turn(libraries[0]);
		before = mappings();
		for (round = 0; go_on(round, until); round++)
			turn(libraries[0]);
	}
	printf("mappings before\t%d\nmappings after\t%d\nrounds\t%d\n", before, mappings(), round);

	if (!strcmp(mode, "signals"))
		timer_delete(timer);
	__atomic_store_n(&is_over, 1, __ATOMIC_SEQ_CST);
	if (beside)
		pthread_join(other, NULL);
	for (int at = 0; at < THREADS; at++)
		pthread_join(threads[at], NULL);
	add(&wrong, resident(END));
	add(&sites, resident(SITES));
	add(&bound, resident(BOUND));
	printf("wrong\t%lu\nsites\t%lu\nbound\t%lu\nduring\t%lu\ncalls\t%lu\n", wrong, sites, bound, during, calls);
	printf("meetings\t%lu\nchildren\t%lu\nsignals\t%lu\n", meetings, children, signals);
	return 0;
}
