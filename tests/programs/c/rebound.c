/* A program in C that asks its probes again after what they look at has changed, and in a library that has keys of its own: rebound
 * LIBRARY. Says what is told, a line each; compiled with LIBRARY it is that library. */

#include <dlfcn.h>
#include <invar.h>
#include <stdint.h>
#include <stdio.h>

#ifdef LIBRARY
static int machine;
#else
#include "rebound.h"

int machine;

/* What one of them needs is a part of what another one does. */
INVAR_CPU_KEY(sse4_2);
INVAR_CPU_KEY(x86_64_v3);
INVAR_CPU_KEY(avx2);
#endif

static void probe_machine(struct invar_verdict *verdict) { verdict->value = (uint8_t)machine; }

static void tell(const char *key, const char *has, const char *is_now, void *argument)
{
	printf("%s %s: %s, %s\n", (const char *)argument, key, has, is_now);
}

#ifdef LIBRARY

INVAR_KEY(rebound_library, probe_machine);

int again(void);
int again(void)
{
	struct invar_set_counts counts = { sizeof counts, 47, 47 };
	int code;

	machine = 1;
	code = invar_rebind(tell, (void *)(uintptr_t) "library", &counts);
	printf("%d bound, %d checked, branch %d\n", (int)counts.bound, (int)counts.checked, invar_branch(rebound_library) ? 1 : 0);
	return code;
}

#else

static void probe_stays(struct invar_verdict *verdict)
{
	verdict->value = 1;
	if (!machine)
		verdict->origin = INVAR_ORIGIN_FAILED;
}
static void probe_line(struct invar_verdict *verdict) { verdict->data = machine ? 128 : 64; }
static void probe_half(struct invar_verdict *verdict) { verdict->data = machine ? 65536 : 65535; }
static void probe_unknown(struct invar_verdict *verdict)
{
	verdict->data = UINT64_MAX;
	if (!machine)
		verdict->origin = INVAR_ORIGIN_FAILED;
}

INVAR_SWITCH(rebound_follows, probe_machine);
INVAR_SWITCH(rebound_by_hand, probe_machine);
INVAR_KEY(rebound_stays, probe_stays);
INVAR_CONSTANT_FALLBACK(rebound_line, uint32_t, probe_line, 32);
INVAR_CONSTANT_FALLBACK(rebound_half, uint16_t, probe_half, 7);
INVAR_CONSTANT(rebound_unknown, uint64_t, probe_unknown);

static void say(const char *what, int code, const struct invar_set_counts *counts)
{
	printf("%s: %d, follows %d (%d), by hand %d (%d), stays %d (%d), line %u\n", what, code, invar_branch(rebound_follows) ? 1 : 0,
	       invar_value(rebound_follows), invar_branch(rebound_by_hand) ? 1 : 0, invar_value(rebound_by_hand), invar_branch(rebound_stays) ? 1 : 0,
	       invar_value(rebound_stays), (unsigned)invar_constant(rebound_line));
	printf("%d bound, %d checked\n", (int)counts->bound, (int)counts->checked);
}

int main(int count, char **arguments)
{
	struct invar_set_counts counts = { sizeof counts, 47, 47 };
	void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : 0;
	int (*in_library)(void) = library ? (int (*)(void))(uintptr_t)dlsym(library, "again") : 0;
	char argument[] = "told";
	int code;

	if (count > 1 && !in_library)
		return 1;
	if (invar_set)
		invar_set("rebound_by_hand", "off");
	code = invar_rebind(tell, argument, &counts);
	say("same", code, &counts);
	machine = 1;
	code = invar_rebind(tell, argument, &counts);
	say("other", code, &counts);
	/* Nobody is told, nor is anything counted. */
	code = invar_rebind(0, 0, 0);
	say("again", code, &counts);
	machine = 0;
	counts.size = 1;
	code = invar_rebind(tell, argument, &counts);
	say("small", code, &counts);
	counts.size = sizeof counts;
	code = invar_rebind(tell, argument, &counts);
	say("back", code, &counts);
	if (in_library)
		printf("library: %d\n", in_library());
	return 0;
}

#endif
