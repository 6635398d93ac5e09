/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/build.h"

#include "cim/status.h"

struct build build_new(const struct cim_request *request,
		       const char *class_name, struct err *err)
{
	struct build b = {.request = request, .err = err};
	const struct schema_class *class = schema_find_class(NULL, class_name);

	b.mark = arena_mark(request->arena);
	if (class)
		b.r = cim_instance_new(request->arena, class, true, &b.instance,
				       err);
	else
		b.r = err_set(err, -CIM_ECLASS, "there is no class %s",
			      class_name);
	return b;
}

static void set(struct build *b, const char *name, struct cim_value value)
{
	if (b->r == 0)
		b->r = cim_instance_set(b->instance, name, value, b->err);
}

void build_text(struct build *b, const char *name, const char *text)
{
	if (b->r < 0 || !text || !*text)
		return;
	if (cim_instance_get(b->instance, name)->base == CIM_DATETIME)
		set(b, name, cim_datetime(text));
	else
		set(b, name, cim_string(text));
}

void build_number(struct build *b, const char *name, int64_t number)
{
	enum cim_type base;

	if (b->r < 0)
		return;
	base = cim_instance_get(b->instance, name)->base;
	if (cim_type_is_signed(base))
		set(b, name, cim_sint(base, number));
	else
		set(b, name, cim_uint(base, (uint64_t)number));
}

void build_list(struct build *b, const char *name, uint64_t number)
{
	struct cim_value value;

	if (b->r == 0)
		b->r = cim_uint_array(b->request->arena,
				      cim_instance_get(b->instance, name)->base,
				      &number, 1, &value, b->err);
	if (b->r == 0)
		set(b, name, value);
}

void build_time(struct build *b, const char *name, const char *time)
{
	static const char form[] = "0000-00-00T00:00:00.000000";
	char *text;

	if (b->r < 0 || !time)
		return;
	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if (form[i] == '0' ? time[i] < '0' || time[i] > '9'
				   : time[i] != form[i])
			return;
	text =
	    arena_printf(b->request->arena, "%.4s%.2s%.2s%.2s%.2s%.2s.%.6s+000",
			 time, time + 5, time + 8, time + 11, time + 14,
			 time + 17, time + 20);
	if (text)
		build_text(b, name, text);
	else
		b->r = arena_full(b->request->arena, b->err);
}

void build_true(struct build *b, const char *name, bool boolean)
{
	set(b, name, cim_boolean(boolean));
}

void build_ref(struct build *b, const char *name, struct build *other)
{
	if (b->r == 0)
		b->r = other->r;
	if (b->r == 0)
		b->r = cim_instance_make_path(b->request->arena,
					      other->instance, b->request->host,
					      b->request->ns, b->err);
	if (b->r == 0)
		set(b, name, cim_reference(other->instance->path));
}

void build_texts(struct build *b, const char *name, const char *const *texts,
		 uint32_t count)
{
	struct cim_value value;

	if (b->r == 0)
		b->r = cim_string_array(b->request->arena, texts, count, &value,
					b->err);
	if (b->r == 0)
		set(b, name, value);
}

int build_tell(struct build *b, cim_instance_fn *fn, void *fn_arg)
{
	int r = b->r;

	if (r == 0)
		r = fn(fn_arg, b->instance, b->err);
	arena_rewind(b->request->arena, b->mark);
	return r;
}

uint32_t build_slot(struct build *b, const char *name)
{
	const struct schema_class *class;
	const struct schema_property *property;

	if (b->r < 0)
		return 0;
	class = b->instance->class;
	property = schema_find_property(class, name);
	if (property)
		return schema_property_index(class, property);
	b->r = err_set(b->err, -CIM_EPROPERTY, "%s has no property %s",
		       class->name, name);
	return 0;
}

void build_at(struct build *b, uint32_t slot, struct cim_value value)
{
	if (b->r == 0)
		cim_instance_set_at(b->instance, slot, value);
}

int build_tell_again(struct build *b, cim_instance_fn *fn, void *fn_arg)
{
	return b->r < 0 ? b->r : fn(fn_arg, b->instance, b->err);
}
