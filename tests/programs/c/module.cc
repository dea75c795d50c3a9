// A program that imports the module, and includes nothing of invar's but for its report.

#ifdef REPORT
#include <invar.h>
#include <cstdio>

int report()
{
	std::fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
#else
import mylib;

int report();
extern "C" int printf(const char *, ...);

int main()
{
	printf("here\t%ld\n", in_line(5) + in_template(6L) + Member().late(7) + in_numbers(8) + by_pointer(9));
	return report();
}
#endif
