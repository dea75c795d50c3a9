/* Pointers and a table of them, in two object files: what each leads to, and the report. With an argument: how the memory is mapped that
 * they lie in, and what a store to it comes to. */

#include <invar.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void probe_on(struct invar_verdict *verdict) { verdict->value = 1; }
static void probe_off(struct invar_verdict *verdict) { (void)verdict; }
INVAR_KEY(wide, probe_on);
INVAR_KEY(first, probe_off);
INVAR_KEY(second, probe_off);
INVAR_KEY(third, probe_on);
static void probe_last(struct invar_verdict *verdict) { verdict->value = 2; }
INVAR_KEY_VALUES(size, probe_last, "small\0large\0huge", 3);
enum { LARGE = 1 };

static int add_one(const char *text) { return text[0] + 1; }
static int add_two(const char *text) { return text[0] + 2; }
static int add_three(const char *text) { return text[0] + 3; }
static int add_four(const char *text) { return text[0] + 4; }
static int add_five(const char *text) { return text[0] + 5; }
INVAR_POINTER(int, one, (const char *text), wide, add_two, add_one);
INVAR_POINTER(int, four, (const char *text), first, add_two, second, add_three, third, add_four, wide, add_five, add_one);
INVAR_POINTER(int, by_not, (const char *text), INVAR_NOT(wide), add_two, INVAR_NOT(first), add_three, add_one);
INVAR_POINTER(int, by_value, (const char *text), INVAR_IS(size, LARGE), add_two, INVAR_IS(size, 2), add_three, add_one);
INVAR_POINTER(int, by_order, (const char *text), first, add_two, second, add_two, INVAR_AT_LEAST(size, 1), add_three, add_one);
INVAR_POINTER(int, by_several, (const char *text), INVAR_AND(wide, first), add_two,
	      INVAR_AND_3(wide, third, INVAR_IS(size, 0)), add_three, INVAR_AND(third, INVAR_IS(size, 1)), add_four,
	      INVAR_AND_3(INVAR_NOT(first), INVAR_AT_LEAST(size, LARGE), wide), add_five, add_one);
INVAR_POINTER(int, by_none, (const char *text), INVAR_AND(INVAR_NOT(wide), INVAR_AT_LEAST(size, 1)), add_two, add_one);

struct table {
	int (*add)(int, int), (*sub)(int, int);
	void (*last)(int *);
};
static int add(int a, int b) { return a + b; }
static int add_wide(int a, int b) { return a + b + 1000; }
static int sub(int a, int b) { return a - b; }
static int sub_wide(int a, int b) { return a - b + 1000; }
static void last(int *number) { *number = 6; }
static void last_wide(int *number) { *number = 7; }
INVAR_TABLE(struct table, table, (add, sub, last), wide, (add_wide, sub_wide, last_wide), (add, sub, last));
INVAR_TABLE(struct table, several, (add, sub, last), INVAR_AND(first, wide), (add, sub, last),
	    INVAR_AND(wide, INVAR_NOT(second)), (add_wide, sub_wide, last_wide), (add, sub, last));

int elsewhere(const char *text);

/* The protection, as /proc/self/maps has it, and the signal that ends a child which stores what is there. */
static void say_where(const char *name, const void *slot)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], protection[5] = "none";
	uintptr_t from, to;
	int status = 0;
	pid_t child;

	while (maps && fgets(line, sizeof line, maps))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, protection) == 3 && from <= (uintptr_t)slot && (uintptr_t)slot < to)
			break;
	child = fork();
	if (!child) {
		*(void *volatile *)(uintptr_t)slot = *(void *const volatile *)slot;
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		_exit(1);
	printf("%s %s %s\n", name, protection, WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV ? "faults" : "stored");
}

int main(int count, char **arguments)
{
	int number = 0;

	(void)arguments;
	if (count > 1) {
		say_where("one", (const void *)&one);
		say_where("four", (const void *)&four);
		say_where("table", (const void *)&table);
		say_where("last", (const void *)&table.last);
		return 0;
	}
	table.last(&number);
	printf("one %d\nfour %d\nelsewhere %d\n", one("d"), four("d"), elsewhere("d"));
	printf("add %d\nsub %d\nlast %d\n", table.add(1, 2), table.sub(1, 2), number);
	printf("by not %d\nby value %d\nby order %d\n", by_not("d"), by_value("d"), by_order("d"));
	printf("by several %d\nby none %d\nseveral %d\n--\n", by_several("d"), by_none("d"), several.add(1, 2));
	fflush(stdout);
	if (invar_report)
		invar_report(STDOUT_FILENO);
	return 0;
}
