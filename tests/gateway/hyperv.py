# SPDX-License-Identifier: Apache-2.0
"""A WS-Management client for root/virtualization/v2, on one kept connection.

Objects come as dictionaries, references as References, faults as exceptions.
Queries go to `.../root/virtualization/v2/*` and are pulled item by item.
"""
import http.client
import time
import uuid
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

NS = 'root/virtualization/v2'
MS = 'http://schemas.microsoft.com/wbem/wsman/1/wmi/'
WQL = 'http://schemas.microsoft.com/wbem/wsman/1/WQL'
S = 'http://www.w3.org/2003/05/soap-envelope'
A = 'http://schemas.xmlsoap.org/ws/2004/08/addressing'
N = 'http://schemas.xmlsoap.org/ws/2004/09/enumeration'
W = 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'
X = 'http://schemas.xmlsoap.org/ws/2004/09/transfer'
XSI = 'http://www.w3.org/2001/XMLSchema-instance'
ANONYMOUS = A + '/role/anonymous'


class Fault(Exception):
    """A SOAP fault: its subcode's local name and the whole reply."""

    def __init__(self, root, text):
        path = f'.//{{{S}}}Subcode/{{{S}}}Value'
        value = root.findtext(path) or root.findtext(f'.//{{{S}}}Value') or ''
        self.subcode = value.rpartition(':')[2]
        self.reason = root.findtext(f'.//{{{S}}}Text')
        super().__init__(f'{self.subcode}: {self.reason}\n{text}')


def local(element):
    return element.tag.rpartition('}')[2]


class Reference:
    """An endpoint reference: the class and the selectors of an object."""

    def __init__(self, element):
        uri = element.findtext(f'.//{{{W}}}ResourceURI')
        self.class_name = uri.rpartition('/')[2]
        self.keys = {s.get('Name'): s.text for s in
                     element.iterfind(f'.//{{{W}}}Selector')}
        self.keys.pop('__cimnamespace', None)

    def path(self):
        """As WMI's __RELPATH, with what the keys hold escaped."""
        keys = ','.join('{}="{}"'.format(k, v.replace('\\', '\\\\')
                                         .replace('"', '\\"'))
                        for k, v in self.keys.items())
        return f'{self.class_name}.{keys}'


class Object(dict):
    """An instance: texts, lists of texts, References and None."""

    def __init__(self, element):
        super().__init__()
        self.class_name = local(element)
        self.uri = element.tag[1:].partition('}')[0]
        for child in element:
            # dates and intervals have an element of their own
            name, value = local(child), ''.join(child.itertext())
            if child.get(f'{{{XSI}}}nil') == 'true':
                value = None
            elif child.find(f'{{{A}}}ReferenceParameters') is not None:
                value = Reference(child)
            if name in self:
                before = self[name]
                value = (before if isinstance(before, list)
                         else [before]) + [value]
            self[name] = value

    def list(self, name):
        """An array's items; none for NULL."""
        value = self.get(name)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]


class Session:
    """Of a rig's refpoint-cim; `last` is the last reply's text."""

    def __init__(self, rig, user='alice:secret', envelope_size=None):
        self.rig = rig
        self.user = user
        self.envelope_size = envelope_size
        self.connection = None
        self.last = ''

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def post(self, data):
        """The reply's root; raises Fault.  Connects anew where the server
        was started anew."""
        headers = {'Content-Type': 'application/soap+xml; charset=UTF-8'}
        for again in (True, False):
            try:
                self.connection = self.connection or self.rig.kept(
                    'wsman', self.user)
                status, text = self.connection.post('/wsman', data, headers)
                break
            except (OSError, http.client.HTTPException):
                self.close()
                if not again:
                    raise
        self.last = text.decode()
        if status not in (200, 400, 500):
            raise RuntimeError(f'HTTP status {status}: {self.last}')
        root = ET.fromstring(text)
        if root.find(f'./{{{S}}}Body/{{{S}}}Fault') is not None:
            raise Fault(root, self.last)
        return root

    def send(self, action, uri, body, selectors=None, message=None):
        chosen = ''.join(f'<w:Selector Name="{k}">{escape(v)}</w:Selector>'
                         for k, v in (selectors or {}).items())
        size = self.envelope_size
        return self.post(
            f'<s:Envelope xmlns:s="{S}" xmlns:a="{A}" xmlns:n="{N}" '
            f'xmlns:w="{W}"><s:Header><a:To>https://host:5986/wsman</a:To>'
            f'<w:ResourceURI s:mustUnderstand="true">{uri}</w:ResourceURI>'
            f'<a:ReplyTo><a:Address s:mustUnderstand="true">{ANONYMOUS}'
            '</a:Address></a:ReplyTo><a:Action s:mustUnderstand="true">'
            f'{action}</a:Action><a:MessageID>uuid:{message or uuid.uuid4()}'
            '</a:MessageID>' + (f'<w:MaxEnvelopeSize s:mustUnderstand="true">'
                                f'{size}</w:MaxEnvelopeSize>' if size else '') +
            '<w:OperationTimeout>PT60S</w:OperationTimeout>' +
            (f'<w:SelectorSet>{chosen}</w:SelectorSet>' if chosen else '') +
            f'</s:Header><s:Body>{body}</s:Body></s:Envelope>')

    # ---------------------------------------------------------------- reading

    def query(self, wql, class_name, ns=NS):
        """All objects that the query finds, one by one."""
        any_class = f'{MS}{ns}/*'
        root = self.send(
            N + '/Enumerate', any_class,
            f'<n:Enumerate><w:Filter Dialect="{WQL}">{escape(wql)}</w:Filter>'
            '</n:Enumerate>')
        context = root.findtext(f'.//{{{N}}}EnumerationContext')
        uri = f'{MS}{ns}/{class_name}'
        found = []
        while True:
            root = self.send(
                N + '/Pull', uri, f'<n:Pull><n:EnumerationContext>{context}'
                '</n:EnumerationContext></n:Pull>')
            items = root.find(f'.//{{{N}}}Items')
            first = items[0] if items is not None and len(items) else None
            if first is None or first.tag != f'{{{uri}}}{class_name}':
                return found
            found.append(Object(first))
            if root.find(f'.//{{{N}}}EndOfSequence') is not None:
                return found
            context = root.findtext(f'.//{{{N}}}EnumerationContext')

    def get(self, class_name, selectors, ns=NS):
        root = self.send(X + '/Get', f'{MS}{ns}/{class_name}', '', selectors)
        return Object(root.find(f'./{{{S}}}Body')[0])

    def associators(self, path, result_class, assoc_class=None):
        where = f' AssocClass = {assoc_class}' if assoc_class else ''
        return self.query(f'ASSOCIATORS OF {{{path}}} WHERE{where} '
                          f'ResultClass = {result_class}', result_class)

    # ---------------------------------------------------------------- calling

    @staticmethod
    def parameter(name, value):
        """None: xsi:nil; a Reference or (class, keys): an EPR; what begins
        with <INSTANCE goes as CDATA."""
        if isinstance(value, Reference):
            value = (value.class_name, value.keys)
        if value is None:
            return f'<p:{name} xmlns:xsi="{XSI}" xsi:nil="true"/>'
        if isinstance(value, tuple):
            keys = ''.join(f'<w:Selector Name="{k}">{escape(v)}</w:Selector>'
                           for k, v in value[1].items())
            return (f'<p:{name}><a:Address>{ANONYMOUS}</a:Address>'
                    '<a:ReferenceParameters><w:ResourceURI>'
                    f'{MS}{NS}/{value[0]}</w:ResourceURI><w:SelectorSet>'
                    f'{keys}</w:SelectorSet></a:ReferenceParameters>'
                    f'</p:{name}>')
        if str(value).startswith('<INSTANCE'):
            return f'<p:{name}><![CDATA[{value}]]></p:{name}>'
        return f'<p:{name}>{escape(str(value))}</p:{name}>'

    def invoke(self, target, method, **parameters):
        """TARGET is (class, keys) or a Reference; the output as an Object."""
        if isinstance(target, Reference):
            target = (target.class_name, target.keys)
        uri = f'{MS}{NS}/{target[0]}'
        body = ''.join(self.parameter(k, v) for k, v in parameters.items())
        root = self.send(f'{uri}/{method}', uri,
                         f'<p:{method}_INPUT xmlns:p="{uri}">{body}'
                         f'</p:{method}_INPUT>', target[1])
        if f'<p:{method}_OUTPUT'.lower() not in self.last.lower():
            raise RuntimeError(f'no p:{method}_OUTPUT in {self.last}')
        return Object(root.find(f'./{{{S}}}Body')[0])

    def wait(self, job, seconds=60):
        """Polls by a query until the job is over; every state that was seen,
        and the job."""
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            rows = self.query('SELECT * FROM Msvm_ConcreteJob WHERE InstanceID'
                              f" = '{job.keys['InstanceID']}'",
                              'Msvm_ConcreteJob')
            if len(rows) != 1:
                raise RuntimeError(f'{len(rows)} jobs have that InstanceID')
            seen.append(int(rows[0]['JobState']))
            if seen[-1] >= 7:
                return seen, rows[0]
            time.sleep(0.1)
        raise RuntimeError(f'the job is in state {seen[-1]} after {seconds} s')


def settings(class_name, **properties):
    """The text of an embedded instance."""
    types = {bool: 'boolean', int: 'uint8', str: 'string'}
    inner = ''
    for name, value in properties.items():
        text = str(value).upper() if isinstance(value, bool) else str(value)
        inner += (f'<PROPERTY NAME="{name}" TYPE="{types[type(value)]}">'
                  f'<VALUE>{escape(text)}</VALUE></PROPERTY>')
    return f'<INSTANCE CLASSNAME="{class_name}">{inner}</INSTANCE>'
