// Sites where only C++ has them: beside objects with destructors, in templates, lambdas, members, inline functions and
// functions that throw. Says what it found, a line each.

#include <cstdio>
#include <invar.h>
#include <mutex>
#include <string>

static void probe_wide(invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_wide, probe_wide);

namespace inner {
INVAR_KEY(c_inner, [](invar_verdict *verdict) { verdict->value = 1; });
bool is_on() { return invar_branch(c_inner); }
}

// A section that ends with its block.
struct Section {
	Section() { invar_slice_enter(); }
	~Section() { invar_slice_leave(); }
	Section(const Section &) = delete;
	Section &operator=(const Section &) = delete;
};

// One site before the object, one while it is there, one at its end.
struct Counted {
	static int there;
	Counted() { there += invar_branch(c_wide); }
	~Counted() { there -= invar_branch(c_wide); }
};
int Counted::there;

static int locked(std::mutex &mutex)
{
	int found = invar_branch(c_wide);
	invar_slice_enter();
	std::lock_guard<std::mutex> guard(mutex);
	std::string text("long enough not to stand in the object itself");
	if (invar_branch(c_wide))
		found += static_cast<int>(text.size());
	invar_slice_leave();
	return found;
}

template <typename T, int POSITION> static T both(T x)
{
	Section section;
	Counted counted;
	return invar_branch_is(c_wide, POSITION) ? x + T(Counted::there) : x;
}

static int thrown()
{
	try {
		Section section;
		Counted counted;
		if (invar_branch(c_wide))
			throw 7;
	} catch (int found) {
		return found + Counted::there;
	}
	return 0;
}

// Beside an object, a switch; a value that only the function knows; sections in expressions.
template <int POSITION> static int jumps(int x)
{
	constexpr int position = POSITION;

	switch (x) {
	case 0:
		return invar_slice_enter(), invar_slice_leave(), 1;
	default:
		for (;;) {
			Counted counted;
			if (invar_branch_is(c_wide, position))
				break;
			x = 0;
		}
	}
	return x;
}

inline int twice(int x) { return 2 * x; }
inline int thrice(int x) { return 3 * x; }
INVAR_DISPATCH(inline, int, times, (int x), (x), c_wide, thrice, twice);

static int last;
static void keep(int x) { last = x; }
static void drop(int) { last = -1; }
INVAR_DISPATCH(static, void, kept, (int x), (x), c_wide, keep, drop);

int main()
{
	std::mutex mutex;
	auto in_lambda = [](int x) {
		Section section;
		return invar_branch(c_wide) ? x : 0;
	};

	std::printf("locked\t%d\n", locked(mutex));
	std::printf("both\t%d %ld\n", both<int, 1>(4), both<long, 0>(5));
	std::printf("thrown\t%d\n", thrown());
	std::printf("jumps\t%d %d\n", jumps<1>(0), invar_branch(c_wide) ? jumps<1>(8) : jumps<0>(8));
	std::printf("others\t%d %d %d\n", in_lambda(3), inner::is_on(), times(7));
	kept(9);
	std::printf("kept\t%d\n", last);
	std::fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
