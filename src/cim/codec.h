/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIM objects as CIM-XML (DSP0201), both ways.  Used by CIM-XML itself and for
 * the instances that travel as text in WS-Management's string parameters.
 *
 * K1  Types come from the schema, never from a request's words; names compare
 *     without case and come out as the schema spells them.
 * K2  Reading is liberal: wrappers, qualifiers, unknown attributes and unknown
 *     properties are passed over.  A value that is not of its type, or a class
 *     that is not there, is an error.
 * K3  Writing is what sblim-wbemcli can read: no empty PROPERTY, PARAMETER or
 *     VALUE tags, no CDATA.
 */
#ifndef CIM_CODEC_H
#define CIM_CODEC_H

#include "cim/instance.h"
#include "cim/path.h"
#include "cim/value.h"
#include "cim/writer.h"
#include "cim/xml.h"

/* What of a class or an instance is written. */
struct codec_select {
	bool local_only; /* of a class: only what it declares or overrides */
	bool qualifiers; /* of a class */
	bool class_origin;
	bool list;                     /* only the properties named: */
	const char *const *properties; /* without case; unknown ones: ignored */
	uint32_t property_count;
};
/* Whether the property is among those. */
bool codec_selects(const struct codec_select *select,
		   const struct schema_class *class,
		   const struct schema_property *property);

/* ---- writing ---------------------------------------------------------- */

/* INSTANCE.  NULL properties are written without a value; what was not set
 * too, unless SET_ONLY. */
void codec_put_instance(struct xml_out *out,
			const struct cim_instance *instance,
			const struct codec_select *select, bool set_only);
/* VALUE.NAMEDINSTANCE, VALUE.INSTANCEWITHPATH, VALUE.OBJECTWITHPATH; the
 * instance has a path, for the last two with host and namespace. */
void codec_put_named_instance(struct xml_out *out,
			      const struct cim_instance *instance,
			      const struct codec_select *select);
void codec_put_instance_with_path(struct xml_out *out,
				  const struct cim_instance *instance,
				  const struct codec_select *select);
void codec_put_object_with_path(struct xml_out *out,
				const struct cim_instance *instance,
				const struct codec_select *select);
/* VALUE.OBJECT, as ExecQuery answers. */
void codec_put_object(struct xml_out *out, const struct cim_instance *instance,
		      const struct codec_select *select);

/* INSTANCENAME; INSTANCEPATH, LOCALINSTANCEPATH or INSTANCENAME, as much as
 * PATH has, a class's as CLASSPATH, LOCALCLASSPATH or CLASSNAME; OBJECTPATH. */
void codec_put_instance_name(struct xml_out *out, const struct cim_path *path);
void codec_put_path(struct xml_out *out, const struct cim_path *path);
void codec_put_object_path(struct xml_out *out, const struct cim_path *path);
/* LOCALNAMESPACEPATH; NAMESPACEPATH if HOST is not NULL. */
void codec_put_namespace(struct xml_out *out, const char *host, const char *ns);

/* VALUE, VALUE.ARRAY, VALUE.REFERENCE, VALUE.REFARRAY; nothing if NULL. */
void codec_put_value(struct xml_out *out, const struct cim_value *value);
/* PARAMVALUE, RETURNVALUE. */
void codec_put_parameter(struct xml_out *out,
			 const struct schema_parameter *parameter,
			 const struct cim_value *value);
void codec_put_return(struct xml_out *out, const struct cim_value *value);

/* CLASS; VALUE.OBJECTWITHPATH of a class; QUALIFIER.DECLARATION. */
void codec_put_class(struct xml_out *out, const struct schema_class *class,
		     const struct codec_select *select);
void codec_put_class_with_path(struct xml_out *out, const char *host,
			       const char *ns, const struct schema_class *class,
			       const struct codec_select *select);
void codec_put_qualifier_type(struct xml_out *out,
			      const struct schema_qualifier_type *type);

/* The text of an instance, as it stands in a string: <INSTANCE ...>. */
int codec_instance_text(struct arena *arena,
			const struct cim_instance *instance,
			const char **ret_text, struct err *err);

/* ---- reading ---------------------------------------------------------- */

/*
 * A path from INSTANCENAME, LOCALINSTANCEPATH, INSTANCEPATH, CLASSNAME,
 * LOCALCLASSPATH, CLASSPATH, OBJECTPATH or a VALUE.REFERENCE around any of
 * them, or from a VALUE that holds a path's text.  -CIM_EPARAMETER.
 */
int codec_get_path(struct arena *arena, const struct xml_node *node,
		   const struct cim_path **ret_path, struct err *err);
/* The namespace of LOCALNAMESPACEPATH or NAMESPACEPATH, with `/` between. */
int codec_get_namespace(struct arena *arena, const struct xml_node *node,
			const char **ret_host, const char **ret_ns,
			struct err *err);

/*
 * The value in NODE, whose children are VALUE, VALUE.ARRAY, VALUE.REFERENCE or
 * VALUE.REFARRAY (a PARAMVALUE, PROPERTY, PROPERTY.ARRAY ...): NULL if there is
 * none.  One VALUE where TYPE is an array is an array of one; an empty VALUE of
 * a number, a reference or an embedded instance is NULL.  NS is where classes
 * of embedded instances are looked for; NULL: anywhere.
 * -CIM_EPARAMETER, -CIM_ETYPEMISMATCH, -CIM_ECLASS, -CIM_EUNREADABLE.
 */
int codec_get_value(struct arena *arena, const struct schema_namespace *ns,
		    const struct xml_node *node, const struct schema_type *type,
		    struct cim_value *ret_value, struct err *err);

/*
 * An instance from INSTANCE, or from what wraps one (CIM, DECLARATION,
 * DECLGROUP, VALUE.OBJECT, VALUE.NAMEDINSTANCE ...).  It is of BASE or of a
 * subclass, if BASE is not NULL, else -CIM_ECLASS.
 */
int codec_get_instance(struct arena *arena, const struct schema_namespace *ns,
		       const struct xml_node *node,
		       const struct schema_class *base,
		       struct cim_instance **ret_instance, struct err *err);
/* The same from the text in a string parameter, in every encoding that clients
 * are known to send; -CIM_EUNREADABLE if it is none of them. */
int codec_read_instance(struct arena *arena, const struct schema_namespace *ns,
			const char *text, size_t length,
			const struct schema_class *base,
			struct cim_instance **ret_instance, struct err *err);

#endif
