/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of a request: DSP0200, "Encapsulation of CIM-XML messages". */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cimxml/internal.h"

#define EXTENSION "http://www.dmtf.org/cim/mapping/http/v1.0"

static const char *find(const struct cimxml_request *request, const char *name)
{
	for (size_t i = 0; i < request->n_headers; i++)
		if (strcasecmp(request->headers[i].name, name) == 0)
			return request->headers[i].value;
	return NULL;
}

/* "URI"; ns=NN, with or without quotes: the two digits go to PREFIX. */
static bool read_man(const char *man, char prefix[4])
{
	size_t length = strlen(EXTENSION);

	man += *man == '"';
	if (strncasecmp(man, EXTENSION, length) != 0)
		return false;
	man += length;
	man += *man == '"';
	man += strspn(man, " \t");
	if (*man++ != ';')
		return false;
	man += strspn(man, " \t");
	if (strncasecmp(man, "ns=", 3) != 0 ||
	    strspn(man + 3, "0123456789") != 2)
		return false;
	(void)snprintf(prefix, 4, "%.2s-", man + 3);
	return true;
}

static const char *find_prefixed(const struct cimxml_request *request,
				 const char *prefix, const char *name)
{
	char full[64];

	(void)snprintf(full, sizeof(full), "%s%s", prefix, name);
	return find(request, full);
}

/* The type without its parameters is application/xml or text/xml. */
static bool is_xml(const char *type)
{
	static const char *const types[] = {"application/xml", "text/xml"};
	size_t length = strcspn(type, "; \t");

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strlen(types[i]) == length &&
		    strncasecmp(type, types[i], length) == 0)
			return true;
	return false;
}

/* What the type says of the body, if it is one of the two that count. */
static const char *charset_of(const char *type)
{
	const char *charset = strcasestr(type, "charset=");

	if (!charset)
		return NULL;
	charset += strlen("charset=");
	charset += *charset == '"';
	if (strncasecmp(charset, "utf-8", 5) == 0)
		return "UTF-8";
	return strncasecmp(charset, "utf-16", 6) == 0 ? "UTF-16" : NULL;
}

static bool is_version(const char *version, char major)
{
	size_t minor;

	if (version[0] != major || version[1] != '.')
		return false;
	minor = strspn(version + 2, "0123456789");
	return minor > 0 && version[2 + minor] == '\0';
}

int read_headers(const struct cimxml_request *request,
		 struct headers *ret_headers, struct err *err)
{
	struct headers h = {0};
	char prefix[4] = "";
	const char *man, *what;

	h.mandatory = strcmp(request->method, "M-POST") == 0;
	if (!h.mandatory && strcmp(request->method, "POST") != 0)
		return 405;
	man = find(request, "Man");
	if (h.mandatory && (!man || !read_man(man, prefix)))
		return 510;
	if (!request->content_type || !is_xml(request->content_type))
		return 415;
	if (find_prefixed(request, prefix, "CIMBatch"))
		return err_set(err, -CIM_EMULTIPLE, "a batch of requests");
	what = find_prefixed(request, prefix, "CIMOperation");
	if (!what || strcasecmp(what, "MethodCall") != 0)
		return err_set(err, -CIM_EOPERATION, "no MethodCall");
	h.version = find_prefixed(request, prefix, "CIMProtocolVersion");
	if (h.version && !is_version(h.version, '1'))
		return err_set(err, -CIM_EPROTOCOLVERSION,
			       "version %.20s of the protocol", h.version);
	h.method = find_prefixed(request, prefix, "CIMMethod");
	h.object = find_prefixed(request, prefix, "CIMObject");
	if (!h.method || !h.object)
		return err_set(err, -CIM_EHEADER,
			       "CIMMethod or CIMObject is missing");
	h.encoding = charset_of(request->content_type);
	*ret_headers = h;
	return 0;
}

/* ---- against the body ---------------------------------------------------- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoded; what is no escape, or would be NUL, stays as it is. */
static char *decode(struct arena *arena, const char *text)
{
	char *copy = arena_strdup(arena, text), *to = copy;

	for (const char *p = copy; p && *p; p++) {
		int high = *p == '%' ? digit(p[1]) : -1;
		int low = high >= 0 ? digit(p[2]) : -1;

		*to = *p;
		if (low >= 0 && high + low > 0) {
			*to = (char)(high << 4 | low);
			p += 2;
		}
		to++;
	}
	if (copy)
		*to = '\0';
	return copy;
}

/* Whether both name the same object; a header's keys have no types, which only
 * the class can tell. */
static bool same_object(struct arena *arena, const struct cim_path *a,
			const struct cim_path *b)
{
	const struct schema_class *class;

	if (cim_path_equal(a, b))
		return true;
	class = schema_find_class(NULL, b->class_name);
	return class && cim_path_bind(arena, a, class, &a, NULL) == 0 &&
	       cim_path_bind(arena, b, class, &b, NULL) == 0 &&
	       cim_path_equal(a, b);
}

static bool names(struct arena *arena, const char *text, const char *ns,
		  const struct cim_path *object)
{
	const struct cim_path *path;

	if (!object)
		return cim_namespace_equal(text, ns);
	if (cim_path_parse(arena, text, &path, NULL) < 0)
		return false;
	return path->is_class == object->is_class &&
	       same_object(arena, path, object);
}

int match_headers(struct arena *arena, const struct headers *headers,
		  const char *version, const char *method, const char *ns,
		  const struct cim_path *object, struct err *err)
{
	const char *decoded = decode(arena, headers->object);
	const char *called = decode(arena, headers->method);

	if (!decoded || !called)
		return arena_full(arena, err);
	if (headers->version && strcmp(headers->version, version) != 0)
		return err_set(err, -CIM_EHEADER,
			       "CIMProtocolVersion is not PROTOCOLVERSION");
	if (strcasecmp(called, method) != 0)
		return err_set(err, -CIM_EHEADER, "CIMMethod is not %.60s",
			       method);
	if (!names(arena, decoded, ns, object) &&
	    !names(arena, headers->object, ns, object))
		return err_set(err, -CIM_EHEADER,
			       "CIMObject is not the object of the call");
	return 0;
}
