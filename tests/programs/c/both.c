/* A module that has tables of the first version of the site ABI (first.c) and of this one; and a library that has the former. */
#include <invar.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C"
#endif
int in_program(void), in_library(void);

static void probe(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(second, probe);

int main(void)
{
	int is_on = invar_branch(second);

	printf("%d %d %d\n", is_on, in_program(), in_library());
	fflush(stdout);
	invar_report(1);
	return 0;
}
