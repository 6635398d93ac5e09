/* SPDX-License-Identifier: Apache-2.0 */
/* Object paths: comparing, looking up, holding against a class. */
#include "cim/path.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "common/limits.h"

static bool is_slash(char c)
{
	return c == '/' || c == '\\';
}

bool cim_namespace_equal(const char *a, const char *b)
{
	size_t la, lb;

	while (is_slash(*a))
		a++;
	while (is_slash(*b))
		b++;
	la = strlen(a);
	lb = strlen(b);
	while (la > 0 && is_slash(a[la - 1]))
		la--;
	while (lb > 0 && is_slash(b[lb - 1]))
		lb--;
	if (la != lb)
		return false;
	for (size_t i = 0; i < la; i++)
		if (!(is_slash(a[i]) && is_slash(b[i])) &&
		    strncasecmp(a + i, b + i, 1) != 0)
			return false;
	return true;
}

static bool names_any_host(const char *host)
{
	return !host || strcmp(host, ".") == 0 ||
	       strcasecmp(host, "localhost") == 0;
}

static bool host_equal(const char *a, const char *b)
{
	return names_any_host(a) || names_any_host(b) || strcasecmp(a, b) == 0;
}

/* A number's text as sign and magnitude; false if it is none. */
static bool number_of(const char *text, bool *ret_minus, uint64_t *ret_number)
{
	bool minus = *text == '-';
	bool hex;
	char *end;

	if (*text == '-' || *text == '+')
		text++;
	if (*text < '0' || *text > '9')
		return false;
	hex = text[0] == '0' && (text[1] | 0x20) == 'x';
	errno = 0;
	*ret_number = strtoull(text, &end, hex ? 16 : 10);
	*ret_minus = minus && *ret_number != 0;
	return *end == '\0' && errno == 0;
}

static bool same_number(const char *a, const char *b)
{
	bool minus_a, minus_b;
	uint64_t na, nb;

	if (!number_of(a, &minus_a, &na) || !number_of(b, &minus_b, &nb))
		return strcmp(a, b) == 0;
	return minus_a == minus_b && na == nb;
}

/* A reference against text that may be its path. */
static bool ref_is_text(const struct cim_path *ref, const char *text)
{
	struct arena *arena = arena_new(CIM_PATH_BYTES_MAX * 8);
	const struct cim_path *path;
	bool same = arena && cim_path_parse(arena, text, &path, NULL) == 0 &&
		    cim_path_equal(ref, path);

	arena_free(arena);
	return same;
}

bool cim_key_equal(const struct cim_key *a, const struct cim_key *b)
{
	if (a->kind == CIM_KEY_REFERENCE && b->kind == CIM_KEY_REFERENCE)
		return cim_path_equal(a->ref, b->ref);
	if (a->kind == CIM_KEY_REFERENCE)
		return ref_is_text(a->ref, b->text);
	if (b->kind == CIM_KEY_REFERENCE)
		return ref_is_text(b->ref, a->text);
	if (a->kind == CIM_KEY_NUMBER || b->kind == CIM_KEY_NUMBER)
		return same_number(a->text, b->text);
	if (a->kind == CIM_KEY_BOOLEAN || b->kind == CIM_KEY_BOOLEAN)
		return strcasecmp(a->text, b->text) == 0;
	return strcmp(a->text, b->text) == 0;
}

const struct cim_key *cim_path_key(const struct cim_path *path,
				   const char *name)
{
	for (uint32_t i = 0; i < path->key_count; i++)
		if (strcasecmp(path->keys[i].name, name) == 0)
			return &path->keys[i];
	return NULL;
}

const char *cim_path_text(const struct cim_path *path, const char *name)
{
	const struct cim_key *key = cim_path_key(path, name);

	return key && key->kind != CIM_KEY_REFERENCE ? key->text : NULL;
}

/* A key without a name is the only one, whatever the other calls it. */
static const struct cim_key *counterpart(const struct cim_path *path,
					 const struct cim_key *key)
{
	if (path->key_count == 1 && (!*key->name || !*path->keys[0].name))
		return &path->keys[0];
	return cim_path_key(path, key->name);
}

bool cim_path_equal(const struct cim_path *a, const struct cim_path *b)
{
	if (!host_equal(a->host, b->host) ||
	    (a->ns && b->ns && !cim_namespace_equal(a->ns, b->ns)) ||
	    strcasecmp(a->class_name, b->class_name) != 0 ||
	    a->is_class != b->is_class || a->key_count != b->key_count)
		return false;
	for (uint32_t i = 0; i < a->key_count; i++) {
		const struct cim_key *other = counterpart(b, &a->keys[i]);

		if (!other || !cim_key_equal(&a->keys[i], other))
			return false;
	}
	return true;
}

static int bad_value(const struct schema_property *property, struct err *err)
{
	return err_set(err, -CIM_ESELECTORVALUE, "the key %s is no %s",
		       property->name, cim_type_name(property->type.base));
}

/* Such a path names nothing, not even what it is equal to. */
static bool has_key_twice(const struct cim_path *path)
{
	for (uint32_t i = 0; i < path->key_count; i++) {
		const struct cim_key *key = &path->keys[i];

		if (cim_path_key(path, key->name) != key ||
		    (key->kind == CIM_KEY_REFERENCE && has_key_twice(key->ref)))
			return true;
	}
	return false;
}

/* Makes a reference of KEY, whose text may be a path. */
static int bind_reference(struct arena *arena,
			  const struct schema_property *property,
			  struct cim_key *key, struct err *err)
{
	int r = 0;

	if (key->kind == CIM_KEY_STRING)
		r = cim_path_parse(arena, key->text, &key->ref, NULL);
	else if (key->kind != CIM_KEY_REFERENCE)
		return bad_value(property, err);
	if (r == -CIM_ELIMITS)
		return arena_full(arena, err);
	if (r < 0 || has_key_twice(key->ref))
		return bad_value(property, err);
	key->kind = CIM_KEY_REFERENCE;
	key->text = NULL;
	return 0;
}

static int bind_key(struct arena *arena, const struct schema_property *property,
		    const struct cim_key *from, struct cim_key *ret_key,
		    struct err *err)
{
	enum cim_type base = property->type.base;
	struct cim_key key = *from;
	union cim_scalar scalar;
	int r;

	key.name = property->name;
	*ret_key = key;
	if (base == CIM_REFERENCE)
		return bind_reference(arena, property, ret_key, err);
	if (key.kind == CIM_KEY_REFERENCE)
		return bad_value(property, err);
	r = cim_scalar_parse(arena, base, key.text, &scalar, NULL);
	if (r == -CIM_ELIMITS)
		return arena_full(arena, err);
	if (r < 0)
		return bad_value(property, err);
	if (base == CIM_STRING || base == CIM_DATETIME || base == CIM_CHAR16)
		ret_key->kind = CIM_KEY_STRING;
	else
		ret_key->kind =
		    base == CIM_BOOLEAN ? CIM_KEY_BOOLEAN : CIM_KEY_NUMBER;
	return 0;
}

/* That every key of PATH is one of the class, and stands there once. */
static int check_names(const struct cim_path *path,
		       const struct schema_class *class, struct err *err)
{
	for (uint32_t i = 0; i < path->key_count; i++) {
		const char *name = path->keys[i].name;
		const struct schema_property *p =
		    schema_find_property(class, name);

		if (!*name && path->key_count == 1 && class->key_count == 1)
			return 0;
		if (!p || !p->key)
			return err_set(err, -CIM_ESELECTORUNKNOWN,
				       "%s has no key '%.60s'", class->name,
				       name);
		if (cim_path_key(path, name) != &path->keys[i])
			return err_set(err, -CIM_ESELECTORTWICE,
				       "the key %s is given twice", p->name);
	}
	return 0;
}

static int bind_keys(struct arena *arena, const struct cim_path *path,
		     const struct schema_class *class, struct cim_key *keys,
		     struct err *err)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < class->property_count; i++) {
		const struct schema_property *p = class->properties[i];
		const struct cim_key *key;
		int r;

		if (!p->key)
			continue;
		key = class->key_count == 1 && path->key_count == 1
			  ? &path->keys[0]
			  : cim_path_key(path, p->name);
		if (!key)
			return err_set(err, -CIM_ESELECTORFEW,
				       "the key %s of %s is missing", p->name,
				       class->name);
		r = bind_key(arena, p, key, &keys[n++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int cim_path_bind(struct arena *arena, const struct cim_path *path,
		  const struct schema_class *class,
		  const struct cim_path **ret_path, struct err *err)
{
	struct cim_path *bound = arena_alloc(arena, sizeof(*bound));
	struct cim_key *keys =
	    arena_array(arena, class->key_count, sizeof(*keys));
	int r;

	if (!bound || !keys)
		return arena_full(arena, err);
	if (path->is_class)
		return err_set(err, -CIM_ESELECTORFEW,
			       "the path of the class %s where an instance is "
			       "expected",
			       class->name);
	r = check_names(path, class, err);
	if (r == 0)
		r = bind_keys(arena, path, class, keys, err);
	if (r < 0)
		return r;
	*bound = *path;
	bound->class_name = class->name;
	bound->key_count = class->key_count;
	bound->keys = keys;
	*ret_path = bound;
	return 0;
}

int cim_path_make(struct arena *arena, const char *host, const char *ns,
		  const char *class_name, uint32_t n_keys,
		  const char *const (*keys)[2],
		  const struct cim_path **ret_path, struct err *err)
{
	struct cim_path *path = arena_alloc(arena, sizeof(*path));
	struct cim_key *list = arena_array(arena, n_keys, sizeof(*list));

	if (!path || !list)
		return arena_full(arena, err);
	for (uint32_t i = 0; i < n_keys; i++) {
		list[i].name = keys[i][0];
		list[i].kind = CIM_KEY_STRING;
		list[i].text = keys[i][1];
	}
	*path = (struct cim_path){.host = host,
				  .ns = ns,
				  .class_name = class_name,
				  .key_count = n_keys,
				  .keys = list};
	*ret_path = path;
	return 0;
}

/* A copy of TEXT, which may be NULL; false if there is no room. */
static bool copy_text(struct arena *arena, const char *text,
		      const char **ret_text)
{
	char *copy = text ? arena_strdup(arena, text) : NULL;

	*ret_text = copy;
	return copy || !text;
}

static int copy_key(struct arena *arena, const struct cim_key *from,
		    struct cim_key *ret_key, struct err *err)
{
	ret_key->kind = from->kind;
	if (!copy_text(arena, from->name, &ret_key->name) ||
	    !copy_text(arena, from->text, &ret_key->text))
		return arena_full(arena, err);
	return from->ref ? cim_path_copy(arena, from->ref, &ret_key->ref, err)
			 : 0;
}

int cim_path_copy(struct arena *arena, const struct cim_path *path,
		  const struct cim_path **ret_path, struct err *err)
{
	struct cim_path *copy = arena_alloc(arena, sizeof(*copy));
	struct cim_key *keys =
	    arena_array(arena, path->key_count, sizeof(*keys));

	if (!copy || !keys || !copy_text(arena, path->host, &copy->host) ||
	    !copy_text(arena, path->ns, &copy->ns) ||
	    !copy_text(arena, path->class_name, &copy->class_name))
		return arena_full(arena, err);
	for (uint32_t i = 0; i < path->key_count; i++) {
		int r = copy_key(arena, &path->keys[i], &keys[i], err);

		if (r < 0)
			return r;
	}
	copy->is_class = path->is_class;
	copy->key_count = path->key_count;
	copy->keys = keys;
	*ret_path = copy;
	return 0;
}
