/* Functions with one, three and four variants, by features whose names have dots or dashes; says which is which. */

#include <invar-ifunc.h>
#include <stdio.h>

static int base(void) { return 0; }
static int first(void) { return 1; }
static int second(void) { return 2; }
static int third(void) { return 3; }
static int fourth(void) { return 4; }

INVAR_IFUNC(int, of_one, (void), (), base, sse4_1, first);
INVAR_IFUNC(int, of_three, (void), (), base, sse3, first, sse4_1, second, x86_64_v2, third);
INVAR_IFUNC(int, of_four, (void), (), base, sse3, first, sse4_1, second, sse4_2, third, x86_64_v2, fourth);

int main(void)
{
	printf("%d %d %d\n", of_one(), of_three(), of_four());
	return 0;
}
