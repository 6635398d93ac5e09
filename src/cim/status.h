/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be wrong with a request, and how each protocol says it.
 *
 * CIM_ERROR_TABLE is the only mapping from a failure to a CIM status code, a
 * WS-Management fault and an HTTP status.  Its codes lie beyond those of
 * common/err.h, so that functions of this layer return them like any other:
 * `return err_set(err, -CIM_ENOTFOUND, "there is no ...")`.  Codes of
 * common/err.h, as refpointd's replies carry them, have a row as well.
 */
#ifndef CIM_STATUS_H
#define CIM_STATUS_H

#include "common/err.h"

#define CIM_ERR_BASE 16384

/* Who is to blame, in SOAP's words. */
enum soap_code {
	SOAP_SENDER,
	SOAP_RECEIVER,
	SOAP_MUST_UNDERSTAND,
	SOAP_VERSION_MISMATCH,
};

/*
 * symbol, number, CIM status code, HTTP status and CIMError header of a CIM-XML
 * reply (200 and NULL: an <ERROR>), HTTP status and SOAP code of a fault,
 * subcode as PREFIX:NAME, end of the fault detail's URI, Windows' code (0: not
 * told).  The prefixes are those of cim_fault_namespace().
 *
 * Clients read a fault at 500 (and some nothing else at 400): 400 is for what
 * is no envelope at all.  Numbers 1 to 28 are the CIM status codes themselves.
 */
#define CIM_ERROR_TABLE(X)                                                     \
	X(EFAILED, 1, 1, 200, NULL, 500, RECEIVER, "w:InternalError", NULL, 0) \
	X(EACCESS, 2, 2, 200, NULL, 500, SENDER, "w:AccessDenied", NULL, 5)    \
	X(ENAMESPACE, 3, 3, 200, NULL, 500, SENDER,                            \
	  "a:DestinationUnreachable", "InvalidResourceURI", 2150858752u)       \
	X(EPARAMETER, 4, 4, 200, NULL, 500, SENDER, "w:InvalidParameter",      \
	  NULL, 0)                                                             \
	X(ECLASS, 5, 5, 200, NULL, 500, SENDER, "a:DestinationUnreachable",    \
	  "InvalidResourceURI", 2150858752u)                                   \
	X(ENOTFOUND, 6, 6, 200, NULL, 500, SENDER, "a:DestinationUnreachable", \
	  "InvalidResourceURI", 2150858752u)                                   \
	X(ENOTSUPPORTED, 7, 7, 200, NULL, 500, SENDER, "a:ActionNotSupported", \
	  NULL, 0)                                                             \
	X(ECHILDREN, 8, 8, 200, NULL, 500, RECEIVER, "w:InternalError", NULL,  \
	  0)                                                                   \
	X(EINSTANCES, 9, 9, 200, NULL, 500, RECEIVER, "w:InternalError", NULL, \
	  0)                                                                   \
	X(ESUPERCLASS, 10, 10, 200, NULL, 500, RECEIVER, "w:InternalError",    \
	  NULL, 0)                                                             \
	X(EEXISTS, 11, 11, 200, NULL, 500, SENDER, "w:AlreadyExists", NULL, 0) \
	X(EPROPERTY, 12, 12, 200, NULL, 500, SENDER, "w:InvalidParameter",     \
	  NULL, 0)                                                             \
	X(ETYPEMISMATCH, 13, 13, 200, NULL, 500, SENDER, "w:InvalidParameter", \
	  "TypeMismatch", 0)                                                   \
	X(EQUERYLANGUAGE, 14, 14, 200, NULL, 500, SENDER,                      \
	  "n:FilterDialectRequestedUnavailable", NULL, 0)                      \
	X(EQUERY, 15, 15, 200, NULL, 500, SENDER, "n:CannotProcessFilter",     \
	  NULL, 0)                                                             \
	X(ENOTAVAILABLE, 16, 16, 200, NULL, 500, SENDER,                       \
	  "a:ActionNotSupported", NULL, 0)                                     \
	X(EMETHOD, 17, 17, 200, NULL, 500, SENDER, "a:ActionNotSupported",     \
	  NULL, 0)                                                             \
	X(ENAMESPACEUSED, 20, 20, 200, NULL, 500, RECEIVER, "w:InternalError", \
	  NULL, 0)                                                             \
	X(ECONTEXT, 21, 21, 200, NULL, 500, RECEIVER,                          \
	  "n:InvalidEnumerationContext", NULL, 0)                              \
	X(EOPTIMEOUT, 22, 22, 200, NULL, 500, SENDER,                          \
	  "n:InvalidExpirationTime", NULL, 0)                                  \
	X(EPULLABANDONED, 23, 23, 200, NULL, 500, RECEIVER, "n:TimedOut",      \
	  NULL, 0)                                                             \
	X(EPULLKEPT, 24, 24, 200, NULL, 500, RECEIVER, "w:Concurrency", NULL,  \
	  0)                                                                   \
	X(EFILTERED, 25, 25, 200, NULL, 500, SENDER,                           \
	  "n:FilteringNotSupported", NULL, 0)                                  \
	X(ECONTINUE, 26, 26, 200, NULL, 500, SENDER, "w:UnsupportedFeature",   \
	  NULL, 0)                                                             \
	X(ELIMITS, 27, 27, 200, NULL, 500, RECEIVER, "w:QuotaLimit", NULL, 0)  \
	X(ESHUTDOWN, 28, 28, 200, NULL, 500, RECEIVER, "w:InternalError",      \
	  NULL, 0)                                                             \
	/* A request that cannot be read. */                                   \
	X(EXML, 40, 4, 400, "request-not-well-formed", 400, SENDER,            \
	  "w:SchemaValidationError", NULL, 0)                                  \
	X(EXMLDOCTYPE, 41, 4, 400, "request-not-valid", 400, SENDER,           \
	  "w:SchemaValidationError", NULL, 0)                                  \
	X(EXMLENTITY, 42, 4, 400, "request-not-valid", 400, SENDER,            \
	  "w:SchemaValidationError", NULL, 0)                                  \
	X(EXMLENCODING, 43, 4, 400, "request-not-well-formed", 400, SENDER,    \
	  "w:EncodingLimit", "CharacterSet", 0)                                \
	X(EXMLBYTES, 44, 27, 413, "request-not-valid", 500, SENDER,            \
	  "w:EncodingLimit", "ServiceEnvelopeLimit", 0)                        \
	X(EXMLDEPTH, 45, 27, 400, "request-not-valid", 500, SENDER,            \
	  "w:EncodingLimit", "ServiceEnvelopeLimit", 0)                        \
	X(EXMLELEMENTS, 46, 27, 400, "request-not-valid", 500, SENDER,         \
	  "w:EncodingLimit", "ServiceEnvelopeLimit", 0)                        \
	X(EXMLATTRIBUTES, 47, 27, 400, "request-not-valid", 500, SENDER,       \
	  "w:EncodingLimit", "ServiceEnvelopeLimit", 0)                        \
	X(EXMLTEXT, 48, 27, 400, "request-not-valid", 500, SENDER,             \
	  "w:EncodingLimit", "ServiceEnvelopeLimit", 0)                        \
	X(EXMLNAME, 49, 27, 400, "request-not-valid", 500, SENDER,             \
	  "w:EncodingLimit", "ServiceEnvelopeLimit", 0)                        \
	/* CIM-XML: well-formed, but not what the protocol says. */            \
	X(EINVALID, 60, 4, 400, "request-not-valid", 500, SENDER,              \
	  "w:SchemaValidationError", NULL, 0)                                  \
	X(ELOOSE, 61, 4, 400, "request-not-loosely-valid", 500, SENDER,        \
	  "w:SchemaValidationError", NULL, 0)                                  \
	X(EHEADER, 62, 4, 400, "header-mismatch", 500, SENDER,                 \
	  "w:SchemaValidationError", NULL, 0)                                  \
	X(EPROTOCOLVERSION, 63, 7, 501, "unsupported-protocol-version", 500,   \
	  SENDER, "w:UnsupportedFeature", NULL, 0)                             \
	X(EMULTIPLE, 64, 7, 501, "multiple-requests-unsupported", 500, SENDER, \
	  "w:UnsupportedFeature", NULL, 0)                                     \
	X(ECIMVERSION, 65, 7, 501, "unsupported-cim-version", 500, SENDER,     \
	  "w:UnsupportedFeature", NULL, 0)                                     \
	X(EDTDVERSION, 66, 7, 501, "unsupported-dtd-version", 500, SENDER,     \
	  "w:UnsupportedFeature", NULL, 0)                                     \
	X(EOPERATION, 67, 7, 501, "unsupported-operation", 500, SENDER,        \
	  "a:ActionNotSupported", NULL, 0)                                     \
	/* WS-Management. */                                                   \
	X(ESELECTORFEW, 80, 4, 200, NULL, 500, SENDER, "w:InvalidSelectors",   \
	  "InsufficientSelectors", 0)                                          \
	X(ESELECTORUNKNOWN, 81, 4, 200, NULL, 500, SENDER,                     \
	  "w:InvalidSelectors", "UnexpectedSelectors", 0)                      \
	X(ESELECTORTWICE, 82, 4, 200, NULL, 500, SENDER, "w:InvalidSelectors", \
	  "DuplicateSelectors", 0)                                             \
	X(ESELECTORVALUE, 83, 4, 200, NULL, 500, SENDER, "w:InvalidSelectors", \
	  "InvalidValue", 0)                                                   \
	X(EREPLYBYTES, 84, 27, 200, NULL, 500, SENDER, "w:EncodingLimit",      \
	  "MaxEnvelopeSizeExceeded", 0)                                        \
	X(EENVELOPESMALL, 85, 27, 200, NULL, 500, SENDER, "w:EncodingLimit",   \
	  "MinimumEnvelopeLimit", 0)                                           \
	X(ETIMEDOUT, 86, 1, 200, NULL, 500, RECEIVER, "w:TimedOut", NULL,      \
	  2150858793u)                                                         \
	X(EUNSUPPORTEDFEATURE, 87, 7, 200, NULL, 500, SENDER,                  \
	  "w:UnsupportedFeature", NULL, 0)                                     \
	X(EADDRESSING, 88, 7, 200, NULL, 500, SENDER, "w:UnsupportedFeature",  \
	  "AddressingMode", 0)                                                 \
	X(ENOTUNDERSTOOD, 89, 7, 200, NULL, 500, MUST_UNDERSTAND, NULL, NULL,  \
	  0)                                                                   \
	X(ESOAPVERSION, 90, 7, 200, NULL, 500, VERSION_MISMATCH, NULL, NULL,   \
	  0)                                                                   \
	X(EHEADERMISSING, 91, 4, 200, NULL, 500, SENDER,                       \
	  "a:MessageInformationHeaderRequired", NULL, 0)                       \
	X(EHEADERINVALID, 92, 4, 200, NULL, 500, SENDER,                       \
	  "a:InvalidMessageInformationHeader", NULL, 0)                        \
	X(EBUSY, 93, 1, 200, NULL, 500, SENDER, "w:Concurrency", NULL, 0)      \
	X(EFRAGMENT, 94, 7, 200, NULL, 500, SENDER, "w:UnsupportedFeature",    \
	  "FragmentLevelAccess", 0)                                            \
	X(EUNREADABLE, 95, 4, 200, NULL, 500, SENDER,                          \
	  "w:SchemaValidationError", NULL, 0)

/* CIM_EFAILED and so on; functions return them negated. */
enum cim_error {
#define X(sym, num, ...) CIM_##sym = CIM_ERR_BASE + num,
	CIM_ERROR_TABLE(X)
#undef X
};

struct cim_status {
	enum cim_error code;
	unsigned cim;          /* CIM status code, 1 to 28 */
	unsigned cimxml_http;  /* status of a CIM-XML reply */
	const char *cim_error; /* its CIMError header, or NULL: an <ERROR> */
	unsigned soap_http;    /* status of a fault */
	enum soap_code soap;
	const char *subcode; /* "w:InvalidSelectors"; NULL: none */
	const char *detail;  /* the detail's URI ends so; NULL: none */
	uint32_t windows;    /* WSManFault's Code; 0: none */
};

/* The row of a code: one of this file's, one of common/err.h's or an errno,
 * of either sign.  Never NULL; what is unknown is CIM_EFAILED. */
const struct cim_status *cim_status(int code);

/* "CIM_ERR_NOT_FOUND" and so on; "CIM_ERR_FAILED" for any other number. */
const char *cim_status_name(unsigned status);
/* "s:Sender" and so on. */
const char *soap_code_name(enum soap_code code);
/* The namespace that a subcode's prefix ("a", "n", "w") stands for. */
const char *cim_fault_namespace(const char *subcode);
/* The action of a fault with that subcode (or NULL). */
const char *cim_fault_action(const char *subcode);
/* What struct cim_status.detail is the end of. */
#define CIM_FAULT_DETAIL                                                       \
	"http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"

#endif
