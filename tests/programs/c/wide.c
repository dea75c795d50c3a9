/* A program with much text: HUNDREDS of functions, each with a site, as far apart as STRIDE says; or one, behind FILL bytes. It says how many
 * of them do what they should, how many mappings its text has, and how many KiB of that are huge pages. */
#include <invar.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void probe_wide(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(wide, probe_wide);

#define BODY(x) { if (invar_branch(wide)) (x) += 1000; return (x) + 1; }

#ifdef FILL
#define STRING(x) #x
#define BYTES(x) STRING(x)
__asm__(".section behind, \"ax\", @progbits\n\t.skip " BYTES(FILL) ", 0xcc\n\t.previous");
__attribute__((section("behind"), noinline, aligned(1))) static unsigned long last(unsigned long x) BODY(x)
static unsigned long (*const functions[])(unsigned long) = { last };
#else
#define TEN(F, a) F(a##0) F(a##1) F(a##2) F(a##3) F(a##4) F(a##5) F(a##6) F(a##7) F(a##8) F(a##9)
#define HUNDRED(F, a) TEN(F, a##0) TEN(F, a##1) TEN(F, a##2) TEN(F, a##3) TEN(F, a##4) TEN(F, a##5) TEN(F, a##6) TEN(F, a##7) TEN(F, a##8) TEN(F, a##9)
#define DEFINE(n) __attribute__((noinline, noclone, aligned(STRIDE))) static unsigned long f##n(unsigned long x) BODY(x)
#define NAME(n) f##n,
#if HUNDREDS == 2
#define ALL(F) HUNDRED(F, 1) HUNDRED(F, 2)
#else
#define ALL(F) HUNDRED(F, 1) HUNDRED(F, 2) HUNDRED(F, 3)
#endif
ALL(DEFINE)
static unsigned long (*const functions[])(unsigned long) = { ALL(NAME) };
#endif

int main(int argc, char **argv)
{
	size_t count = sizeof functions / sizeof *functions, right = 0, at;
	unsigned long start, end, mappings = 0, huge = 0, number;
	char line[4096], rights[8], name[64];
	int here = 0;
	FILE *file = fopen("/proc/self/smaps", "r");

	for (at = 0; at < count; at++)
		right += ((unsigned long (*volatile)(unsigned long))functions[at])(at + (unsigned long)argc) == at + (unsigned long)argc + 1001;
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3) {
			here = !strcmp(rights, "r-xp") && strstr(line, argv[0]);
			mappings += (unsigned long)here;
		} else if (here && sscanf(line, "%63[A-Za-z]: %lu", name, &number) == 2 && strstr(name, "PmdMapped"))
			huge += number;
	printf("right %zu of %zu\nmappings %lu\nhuge %lu\n", right, count, mappings, huge);
	return 0;
}
