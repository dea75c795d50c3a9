/* What a program finds of its environment, and of what the kernel puts behind it: by `environ`, by the third argument of main, and
 * behind the arguments, where some runtimes look. */
#include <link.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

static void say(const char *name, char **entry)
{
	unsigned long page = 0;

	printf("%s", name);
	for (; *entry; entry++)
		if (strstr(*entry, "TUNABLES") || strstr(*entry, "BEFORE") || strstr(*entry, "other"))
			printf("\t%s", *entry);
	for (ElfW(auxv_t) *auxiliary = (void *)(entry + 1); auxiliary->a_type != AT_NULL; auxiliary++)
		if (auxiliary->a_type == AT_PAGESZ)
			page = auxiliary->a_un.a_val;
	printf("\t%lu\n", page);
}

int main(int count, char **arguments, char **environment)
{
	say("environ", environ);
	say("main", environment);
	say("arguments", arguments + count + 1);
	return 0;
}
