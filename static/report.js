// report: what a job that succeeded has to show: verdict, findings, nodes, files, drawing, and the ways between them.

import { h, icon, announce, bytes, count, number } from './dom.js';
import * as api from './api.js';
import { march_title } from './march.js';
import { problem_of } from './problem.js';
import { findings_panel } from './findings.js';
import { node_info, nodes_panel } from './nodes.js';
import { drawing_panel } from './drawing.js';
import { tab_panels } from './tabs.js';
import { compile_view } from './compiled.js';
import { perf_view } from './measured.js';
import { evaluate_view, quantize_view } from './quantized.js';

/** What is looked at stands in the address, so that it can be sent to a colleague. */
function remember(id, key, value) {
    const now = new URLSearchParams(location.hash.split('?')[1] ?? '');
    if (value) now.set(key, value);
    else now.delete(key);
    history.replaceState(
        history.state,
        '',
        `#/jobs/${encodeURIComponent(id)}${now.size ? `?${now}` : ''}`,
    );
}

/** Fills body; resolves with a function that turns to what other parameters of the address name. */
export async function report_show(body, job, params, signal) {
    const ignore = () => {};
    const report = job.kind === 'visualize' ? null : await api.report(job.id, signal);
    if (signal.aborted) return ignore;
    const is = (kind) => report?.schema?.startsWith(`bpuhub.${kind}/`);
    const check = is('check') ? report : null;
    const made = is('quantize')
        ? quantize_view(report, job)
        : is('evaluate')
          ? evaluate_view(report, job)
          : is('compile')
            ? compile_view(report, job, signal)
            : is('perf')
              ? perf_view(report, job, signal)
              : null;
    const drawing = drawing_panel({ onselect: (i) => selected(i), signal });
    const nodes = check?.nodes ?? [];
    const index_of = new Map();
    nodes.forEach((n, i) => {
        if (!index_of.has(n.name)) index_of.set(n.name, i);
    });

    function locate(node_name) {
        const i = index_of.get(node_name);
        if (i === undefined) return;
        const shown = drawing.select(i, { centred: true });
        if (shown && !drawing.in_sight()) drawing.element.scrollIntoView({ block: 'nearest' });
        announce(
            shown ? `${node_name} is shown in the drawing` : `${node_name} is not in the drawing`,
        );
    }

    const findings = check ? findings_panel(check.findings ?? [], { onlocate: locate }) : null;
    const node_table = check ? nodes_panel(nodes, { onlocate: locate }) : null;

    /** A node was chosen in the drawing: what it is, and the way to its findings. */
    function selected(i) {
        const n = nodes[i];
        drawing.info.hidden = !n;
        if (!signal.aborted) remember(job.id, 'node', n?.name);
        if (!n) return;
        drawing.info.replaceChildren(
            ...node_info(n, findings.of_node(n.name), {
                onclose: () => drawing.select(-1),
                onfindings: () => {
                    tabs.show('findings');
                    findings.filter_node(n.name);
                    findings.element.scrollIntoView({ block: 'nearest' });
                    findings.element.querySelector('.node-link')?.focus({ preventScroll: true });
                },
            }),
        );
    }

    const panels = check
        ? [
              ['findings', `Findings (${number(check.findings?.length ?? 0)})`, findings.element],
              ['nodes', `Nodes (${number(nodes.length)})`, node_table.element],
          ]
        : (made?.tabs ?? []);
    const tabs = panels.length
        ? tab_panels([...panels, ['files', 'Files', files_panel(job)]], params.get('tab'), (key) =>
              remember(job.id, 'tab', key === panels[0][0] ? '' : key),
          )
        : null;

    body.replaceChildren(
        check
            ? verdict_card(check)
            : (made?.card ??
                  h(
                      'section',
                      { class: 'verdict verdict-plain' },
                      icon('ok'),
                      h('div', {}, h('h2', {}, 'Done')),
                  )),
        h(
            'div',
            { class: check || made ? 'split' : 'split single' },
            h('section', { class: 'card panel' }, tabs?.element ?? files_panel(job)),
            drawing.element,
        ),
    );
    if (check) {
        announce(
            `Verdict: ${check.verdict} on ${march_title(check.march)}, ${count(check.summary?.errors ?? 0, 'error')}`,
        );
    }
    if (made) announce(made.announce);
    drawing.message('Drawing …');
    try {
        const text = await api.drawing(job.id, signal);
        if (signal.aborted) return ignore;
        drawing.load(text, nodes);
    } catch (e) {
        if (signal.aborted) return ignore;
        const doc = problem_of(e);
        drawing.message(
            h('strong', {}, 'There is no drawing'),
            h('p', {}, doc.detail ?? doc.title),
            doc.hint && h('p', {}, doc.hint),
        );
    }
    if (params.get('node')) locate(params.get('node'));
    return (next) => {
        tabs?.show(next.get('tab'));
        if (next.get('node')) locate(next.get('node'));
    };
}

function verdict_card(report) {
    const s = report.summary ?? {};
    const legal = report.verdict === 'legal';
    const chip = (label, n, kind, iconName) =>
        h(
            'li',
            { class: `stat stat-${n > 0 ? kind : 'zero'}`, 'data-stat': label.toLowerCase() },
            icon(iconName),
            h('b', {}, number(n)),
            h('span', {}, label),
        );
    return h(
        'section',
        {
            class: `verdict verdict-${legal ? 'ok' : 'error'}`,
            id: 'verdict',
            'data-verdict': report.verdict,
        },
        h(
            'div',
            { class: 'verdict-main' },
            icon(legal ? 'ok' : 'error'),
            h(
                'div',
                {},
                h(
                    'h2',
                    {},
                    legal ? 'Legal' : 'Illegal',
                    h('span', { class: 'verdict-march' }, ` on ${march_title(report.march)}`),
                ),
                h(
                    'p',
                    {},
                    legal
                        ? `${s.folded > 0 ? 'All nodes that remain after folding' : 'All nodes'} can run on the BPU.`
                        : `${number(s.illegal)} of ${count(s.nodes, 'node')} cannot run on the BPU.`,
                    report.dtypes?.assumed
                        ? ` The model is in float: it is judged ${report.dtypes.judged_as ?? 'as if quantized'}.`
                        : '',
                ),
                report.notes?.length
                    ? h(
                          'details',
                          { class: 'notes' },
                          h('summary', {}, count(report.notes.length, 'note')),
                          h(
                              'ul',
                              {},
                              report.notes.map((n) => h('li', {}, n)),
                          ),
                      )
                    : null,
            ),
        ),
        h(
            'ul',
            { class: 'stats' },
            chip('Nodes', s.nodes, 'plain', 'target'),
            chip('Legal', s.legal, 'ok', 'ok'),
            chip('Illegal', s.illegal, 'error', 'error'),
            chip('Folded', s.folded, 'plain', 'folded'),
            chip('Errors', s.errors, 'error', 'error'),
            chip('Warnings', s.warnings, 'warning', 'warning'),
            chip('Advice', s.advice, 'advice', 'advice'),
        ),
    );
}

/** Other forms of a check's report; the server makes them when they are asked for. */
const FORMS = [
    ['report.html', 'the report as one page, for people'],
    ['report.sarif', 'SARIF, for code scanners'],
    ['report.junit.xml', 'JUnit, for CI'],
    ['graph.svg', 'the drawing'],
];

function files_panel(job) {
    const list = job.artifacts ?? [];
    const made = new Set(list.map((a) => a.name));
    const forms = job.kind === 'check' ? FORMS.filter(([name]) => !made.has(name)) : [];
    return h(
        'div',
        { class: 'panel-body' },
        list.length
            ? h(
                  'ul',
                  { class: 'files' },
                  list.map((a) =>
                      h(
                          'li',
                          {},
                          h(
                              'a',
                              { href: safe_href(a, job.id), download: a.name },
                              icon('download'),
                              a.name,
                          ),
                          h(
                              'span',
                              { class: 'muted small' },
                              `${bytes(a.bytes)} · ${a.type ?? ''}`,
                          ),
                          a.sha256 &&
                              h(
                                  'span',
                                  { class: 'muted small mono sha', title: 'SHA-256' },
                                  a.sha256,
                              ),
                      ),
                  ),
              )
            : h('p', { class: 'muted' }, 'No files.'),
        forms.length > 0 &&
            h(
                'ul',
                { class: 'files' },
                forms.map(([name, what]) =>
                    h(
                        'li',
                        {},
                        h(
                            'a',
                            {
                                href: `/v1/jobs/${encodeURIComponent(job.id)}/${name}`,
                                download: name,
                            },
                            icon('download'),
                            name,
                        ),
                        h('span', { class: 'muted small' }, what),
                    ),
                ),
            ),
        h('p', { class: 'muted small' }, 'Job ', h('code', {}, job.id)),
    );
}

function safe_href(artifact, id) {
    const own = `/v1/jobs/${encodeURIComponent(id)}/artifacts/${encodeURIComponent(artifact.name)}`;
    return typeof artifact.href === 'string' && /^\/v1\//.test(artifact.href) ? artifact.href : own;
}
