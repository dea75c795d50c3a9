/* A program in C that libinvar binds, while somebody has system calls fail: faulted TELLER [set]. Says what its sites choose, in the words
 * of ../witness; a library in Rust, which is opened then, says the rest. `set`: it sets its switches once between two lines, and again. */

#include <dlfcn.h>
#include <invar.h>
#include <stdint.h>
#include <stdio.h>

static void is_on(struct invar_verdict *verdict)
{
	verdict->value = 1;
	invar_evidence(verdict, "the program's");
}
static void is_off(struct invar_verdict *verdict) { (void)verdict; }
static void is_line(struct invar_verdict *verdict) { verdict->value = 1, verdict->data = 128; }
INVAR_KEY(faulted_on, is_on);
INVAR_KEY(faulted_off, is_off);
INVAR_KEY_VALUES(faulted_width, is_on, "narrow\0wide\0widest", 3);
INVAR_CONSTANT(faulted_line, uint32_t, is_line);
INVAR_SWITCH(faulted_trace, is_off);
INVAR_SWITCH_VALUES(faulted_level, is_on, "quiet\0error\0debug", 3);

__attribute__((noinline)) static int on(void) { return invar_branch(faulted_on) ? 1 : 0; }
__attribute__((noinline)) static int off(void) { return invar_branch(faulted_off) ? 1 : 0; }
__attribute__((noinline)) static int width(void) { return invar_select(faulted_width, 3); }
__attribute__((noinline)) static int trace(void) { return invar_branch(faulted_trace) ? 1 : 0; }
__attribute__((noinline)) static int level(void)
{
	if (invar_branch_is(faulted_level, 0))
		return 0;
	return invar_branch_is(faulted_level, 1) ? 1 : 2;
}

/* Whether sites and keys say this. */
static int agree(int its_level, int its_trace)
{
	return level() == its_level && invar_value(faulted_level) == its_level && trace() == its_trace &&
	       invar_value(faulted_trace) == its_trace;
}

static int sets(void)
{
	static const struct invar_setting there[2] = { { "faulted_level", "debug" }, { "faulted_trace", "on" } };
	static const struct invar_setting back[2] = { { "faulted_level", "error" }, { "faulted_trace", "off" } };
	struct invar_set_counts counts = { sizeof counts, 0, 0 };
	int code, torn, again;

	printf("result\tbegins\t\n");
	code = invar_set_counted(there, 2, &counts);
	torn = code ? !agree(1, 0) : !agree(2, 1);
	if (code)
		printf("result\tset\tErr(%d, %d)\n", code, torn);
	else
		printf("result\tset\tOk(%d, %d, %d)\n", (int)counts.bound, (int)counts.checked, 1000 * torn);
	again = invar_set_all(there, 2);
	printf("result\tagain\t%d %d\n", again, agree(2, 1));
	again = invar_set_all(back, 2);
	printf("result\tback\t%d %d\n", again, agree(1, 0));
	return 0;
}

int main(int count, char **arguments)
{
	void (*tell)(void);
	void *teller;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!invar_set_all || count < 2)
		return 1;
	if (count > 2)
		sets();
	printf("chose\ton\t%d\t%d\n", on(), invar_value(faulted_on));
	printf("chose\toff\t%d\t%d\n", off(), invar_value(faulted_off));
	printf("chose\twidth\t%d\t%d\n", width(), invar_value(faulted_width));
	printf("chose\tlevel\t%d\t%d\n", level(), invar_value(faulted_level));
	printf("chose\ttrace\t%d\t%d\n", trace(), invar_value(faulted_trace));
	printf("result\tline\t%u %u\n", (unsigned)INVAR_VALUE(faulted_line), (unsigned)invar_constant(faulted_line));
	teller = dlopen(arguments[1], RTLD_NOW);
	tell = teller ? (void (*)(void))(uintptr_t)dlsym(teller, "tell_story") : NULL;
	if (!tell)
		return 2;
	tell();
	return 0;
}
