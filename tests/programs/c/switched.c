/* A program in C with switches, and a library that has one of them too: switched LIBRARY; or a handler that sets: switched handler; or how
 * many sites were set: switched counted LIBRARY. Says what it found, a line each. */

#include <dlfcn.h>
#include <invar.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void probe_trace(struct invar_verdict *verdict) { invar_evidence(verdict, "the program's"); }
INVAR_SWITCH(switched_trace, probe_trace);

static void probe_level(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_SWITCH_VALUES(switched_level, probe_level, "quiet\0error\0debug", 3);

static void probe_fixed(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(switched_fixed, probe_fixed);

__attribute__((noinline)) static int level(void)
{
	if (invar_branch_is(switched_level, 0))
		return 0;
	return invar_branch_is(switched_level, 1) ? 1 : 2;
}

__attribute__((noinline)) static int trace(void) { return invar_branch(switched_trace) ? 1 : 0; }

static const char *const levels[] = { "quiet", "error", "debug" };

static void say(const char *what, int code)
{
	printf("%s: %d, level %d (%d), trace %d (%d)\n", what, code, level(), invar_value(switched_level), trace(),
	       invar_value(switched_trace));
}

static int allow(const char *name, const char *value, void *argument)
{
	return argument == levels && !strcmp(name, "switched_level") && strcmp(value, "error");
}

static volatile int codes[2];

static void set_in_handler(int signal)
{
	struct invar_setting setting = { "switched_level", "debug" };

	(void)signal;
	codes[0] = invar_set("switched_level", "debug");
	codes[1] = invar_set_all(&setting, 1);
}

/* On an alternate stack, as large as a set needs. */
static int handler(void)
{
	static char memory[65536];
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory };
	struct sigaction action = { .sa_handler = set_in_handler, .sa_flags = SA_ONSTACK };

	if (sigaltstack(&stack, 0) || sigaction(SIGUSR1, &action, 0) || raise(SIGUSR1))
		return 1;
	say("in a handler", codes[0]);
	say("several", codes[1]);
	say("behind it", invar_set("switched_level", "debug"));
	return 0;
}

/* Sites of each switch and of both, here and in the library. */
static int counted(const char *path)
{
	static const struct invar_setting settings[3] = { { "switched_level", "debug" }, { "switched_trace", "on" }, { "switched_none", "on" } };
	static const char *const names[3] = { "level", "trace", "both" };
	struct invar_set_counts counts = { .size = sizeof counts };
	int i;

	for (i = 0; i < 6; i++) {
		if (i == 3 && !dlopen(path, RTLD_NOW))
			return 1;
		say(names[i % 3], invar_set_counted(settings + (i % 3 == 1), i % 3 == 2 ? 2 : 1, &counts));
		printf("%d bound, %d checked\n", (int)counts.bound, (int)counts.checked);
	}
	counts.bound = counts.checked = 47;
	say("none", invar_set_counted(settings, 3, &counts));
	printf("%d bound, %d checked\n", (int)counts.bound, (int)counts.checked);
	return 0;
}

int main(int count, char **arguments)
{
	struct invar_setting both[2] = { { "switched_level", "debug" }, { "switched_trace", "on" } };
	struct invar_verdict verdict;
	void *library = count > 1 && *arguments[1] == '/' ? dlopen(arguments[1], RTLD_NOW) : 0;
	int (*in_library)(void) = library ? (int (*)(void))(uintptr_t)dlsym(library, "traced") : 0;
	int i;

	if (count > 1 && !strcmp(arguments[1], "handler"))
		return handler();
	if (count > 2 && !strcmp(arguments[1], "counted"))
		return counted(arguments[2]);
	if (count > 1 && !strcmp(arguments[1], "serve"))
		return -invar_serve(allow, (void *)levels);
	if (!invar_set) {
		say("without libinvar", 0);
		return 0;
	}
	if (count > 1 && !in_library)
		return 1;
	say("start", 0);
	for (i = 0; i < 3; i++)
		say(levels[i], invar_set("switched_level", levels[i]));
	say("both", invar_set_all(both, 2));
	if (in_library)
		printf("library: %d\n", in_library());
	say("no value", invar_set("switched_level", "loud"));
	say("no switch", invar_set("switched_fixed", "off"));
	say("nothing", invar_set("switched_none", "off"));
	say("null", invar_set(0, "off"));
	both[1].value = "loud";
	both[0].value = "quiet";
	say("one of two", invar_set_all(both, 2));
	say("too many", invar_set_all(both, 65));
	if (invar_key("switched_trace", &verdict, sizeof verdict) == INVAR_OK)
		printf("verdict: %d by %d, %.*s\n", verdict.value, verdict.origin, verdict.evidence_length, verdict.evidence);
	say("off", invar_set("switched_trace", "off"));
	if (in_library)
		printf("library: %d\n", in_library());
	return 0;
}
