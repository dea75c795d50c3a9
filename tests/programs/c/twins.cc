// Keys of one name in two namespaces of a module: one verdict; and such that cannot have one.

#include <cstdio>
#include <invar.h>

static int runs;

namespace one {
INVAR_KEY(c_twin, [](invar_verdict *verdict) { runs++; verdict->value = 1; });
INVAR_KEY(c_odd, [](invar_verdict *verdict) { verdict->value = 1; });
int branch() { return invar_branch(c_twin) + 10 * invar_branch(c_odd); }
}
namespace two {
INVAR_KEY(c_twin, [](invar_verdict *) { runs++; });
INVAR_KEY_VALUES(c_odd, [](invar_verdict *verdict) { verdict->value = 1; }, "none\0some\0all", 3);
int branch() { return invar_branch(c_twin) + 10 * invar_branch(c_odd); }
}
namespace three {
INVAR_KEY(c_twin, [](invar_verdict *verdict) { runs++; verdict->value = invar_value(c_twin); });
int branch() { return invar_branch(c_twin); }
}

int main()
{
	std::printf("%d %d %d %d\n", one::branch() % 10, two::branch() % 10, three::branch(), runs);
	std::printf("%d\n", (one::branch() + two::branch()) / 10);
}
