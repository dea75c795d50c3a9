/* What the resolvers of invar-ifunc.h take the CPU to have, in the order of arch/x86_64/cpu.rs. */

#include <invar-ifunc.h>
#include <stdio.h>

int main(void)
{
	printf("%#x\n", invar_cpu_features_());
	return 0;
}
