// results: the list of past results: search, filters, pages by cursor. What is shown is what the address
// says (#/?q=…&verdict=…&cursor=…), so that a list can be shared and the back button works.

import { h, icon, badge, debounce, timeElement, duration, relative } from './dom.js';
import * as api from './api.js';
import { compare_picker } from './compare.js';
import { march_title, marches_load } from './march.js';
import { problem_card, problem_of } from './problem.js';

const FILTERS = ['q', 'state', 'kind', 'march', 'verdict', 'project'];
const PAGE = 25;

export function model_name(job) {
    return (
        job.model_name ??
        job.name ??
        job.model?.name ??
        job.filename ??
        String(job.model?.id ?? job.model ?? '').slice(0, 12)
    );
}

export function outcome_badge(job) {
    if (job.verdict === 'legal') return badge('ok', 'ok', 'Legal');
    if (job.verdict === 'illegal') return badge('error', 'error', 'Illegal');
    switch (job.state) {
        case 'succeeded':
            return badge('plain', 'ok', 'Done');
        case 'failed':
            return badge('warning', 'warning', 'Failed');
        case 'cancelled':
            return badge('plain', 'cancelled', 'Cancelled');
        case 'running':
            return badge('busy', 'running', job.stage ? `Running: ${job.stage}` : 'Running');
        default:
            return badge('busy', 'queued', 'Queued');
    }
}

function select(name, label, choices) {
    return h(
        'div',
        { class: 'field' },
        h('label', { for: `r-${name}` }, label),
        h(
            'select',
            { id: `r-${name}`, name },
            h('option', { value: '' }, 'Any'),
            choices.map(([value, text]) => h('option', { value }, text)),
        ),
    );
}

const pairs = (words) => words.map((w) => [w, w[0].toUpperCase() + w.slice(1)]);

export function results_section(params, signal) {
    let items = [];
    let asked = 0;
    const form = h(
        'form',
        { class: 'filters', role: 'search', onsubmit: (e) => e.preventDefault() },
        h(
            'div',
            { class: 'field grow' },
            h('label', { for: 'r-q' }, 'Search'),
            h('input', {
                id: 'r-q',
                name: 'q',
                type: 'search',
                placeholder: 'Name of a model or project',
                autocomplete: 'off',
            }),
        ),
        select('verdict', 'Verdict', pairs(['legal', 'illegal'])),
        select('state', 'State', pairs(['queued', 'running', 'succeeded', 'failed', 'cancelled'])),
        select('march', 'March', []),
        select(
            'kind',
            'Kind',
            pairs(['check', 'visualize', 'compile', 'perf', 'quantize', 'evaluate', 'pipeline']),
        ),
        h(
            'div',
            { class: 'field' },
            h('label', { for: 'r-project' }, 'Project'),
            h('input', { id: 'r-project', name: 'project', autocomplete: 'off' }),
        ),
    );
    const body = h('tbody', {});
    const picker = compare_picker();
    const table = h(
        'div',
        { class: 'table-scroll' },
        h(
            'table',
            { class: 'table cards results' },
            h('caption', { class: 'visually-hidden' }, 'Past results, newest first'),
            h(
                'thead',
                {},
                h(
                    'tr',
                    {},
                    ['Result', 'Model', 'March', 'Kind', 'Project', 'When', 'Took'].map((t) =>
                        h('th', { scope: 'col' }, t),
                    ),
                    h('th', { scope: 'col' }, h('span', { class: 'visually-hidden' }, 'Compare')),
                ),
            ),
            body,
        ),
    );
    const status = h('p', { class: 'muted list-status', role: 'status' }, 'Loading …');
    const pager = h('nav', { class: 'pager', 'aria-label': 'Pages of results' });
    const trouble = h('div', {});
    const element = h(
        'section',
        { class: 'card', id: 'results', 'aria-labelledby': 'results-title' },
        h('div', { class: 'card-head' }, h('h2', { id: 'results-title' }, 'Results'), status),
        form,
        trouble,
        picker.element,
        table,
        pager,
    );

    marches_load(signal).then(
        (marches) => {
            form.march.append(
                ...marches.map((m) => h('option', { value: m.name }, m.title ?? m.name)),
            );
            form.march.value = params.get('march') ?? '';
            render();
        },
        () => {},
    );

    const to_address = () => {
        const next = new URLSearchParams();
        for (const name of FILTERS)
            if (form[name].value.trim()) next.set(name, form[name].value.trim());
        return `#/${next.size ? `?${next}` : ''}`;
    };
    const changed = () => {
        if (!signal.aborted && to_address() !== location.hash) location.hash = to_address();
    };
    // Typing replaces the entry of the history instead of adding one for every pause.
    const typed = debounce(200, () => {
        if (signal.aborted || to_address() === location.hash) return;
        history.replaceState(null, '', to_address());
        dispatchEvent(new HashChangeEvent('hashchange'));
    });
    form.addEventListener('change', (e) => {
        if (e.target.matches('select')) changed();
    });
    form.addEventListener('input', (e) => {
        if (e.target.matches('input')) typed();
    });

    function show(next) {
        params = next;
        for (const name of FILTERS) {
            const value = params.get(name) ?? '';
            if (form[name] !== document.activeElement || form[name].value.trim() !== value)
                form[name].value = value;
        }
        load();
    }

    async function load() {
        const turn = ++asked;
        const query = { cursor: params.get('cursor') };
        for (const name of FILTERS) query[name] = params.get(name);
        const found = [];
        try {
            // The drawing of a check is a job of its own, reached from the check; the list fills up past such.
            for (let rounds = 0; rounds < 8 && found.length < PAGE; rounds++) {
                const page = await api.job_list({ ...query, limit: PAGE - found.length }, signal);
                found.push(
                    ...(page.items ?? []).filter((j) => query.kind || !j.labels?.derived_from),
                );
                query.cursor = page.next;
                if (!page.next) break;
            }
            if (turn !== asked || signal.aborted) return;
            items = found;
            trouble.replaceChildren();
            render();
            render_pager(query.cursor);
        } catch (e) {
            if (signal.aborted || turn !== asked) return;
            trouble.replaceChildren(problem_card(problem_of(e), { heading: 'h3' }));
            status.textContent = '';
        }
    }

    function row(job) {
        const name = model_name(job);
        const cell = (label, content) =>
            h('td', { 'data-label': label, class: content ? null : 'none' }, content || '–');
        return h(
            'tr',
            { 'data-job': job.id },
            cell('Result', outcome_badge(job)),
            h(
                'th',
                { scope: 'row', 'data-label': 'Model' },
                h(
                    'a',
                    { href: `#/jobs/${encodeURIComponent(job.id)}`, class: 'job-link' },
                    name || 'unnamed',
                ),
            ),
            cell('March', march_title(job.march)),
            cell('Kind', job.kind),
            cell('Project', job.project),
            cell('When', timeElement(job.created)),
            cell('Took', duration(job.started, job.finished)),
            cell('Compare', picker.box(job)),
        );
    }

    function render() {
        const focused = document.activeElement?.closest?.('tr[data-job]')?.dataset.job;
        body.replaceChildren(...items.map(row));
        if (focused && !body.contains(document.activeElement)) {
            body.querySelector(`tr[data-job="${CSS.escape(focused)}"] a`)?.focus({
                preventScroll: true,
            });
        }
        const filtered = FILTERS.some((name) => params.get(name));
        table.hidden = items.length === 0;
        status.textContent = items.length
            ? ''
            : filtered
              ? 'Nothing matches.'
              : params.get('cursor')
                ? 'No older results.'
                : 'No results yet: check the first model above.';
    }

    function render_pager(next) {
        const older = new URLSearchParams(params);
        older.delete('view');
        const newest = new URLSearchParams(older);
        newest.delete('cursor');
        older.set('cursor', next ?? '');
        pager.replaceChildren();
        if (params.get('cursor'))
            pager.append(
                h(
                    'a',
                    { class: 'button', href: `#/?${newest}`, 'data-page': 'newest' },
                    icon('prev'),
                    'Newest',
                ),
            );
        if (next)
            pager.append(
                h(
                    'a',
                    { class: 'button', href: `#/?${older}`, 'data-page': 'older' },
                    'Older',
                    icon('next'),
                ),
            );
    }

    // Unfinished results are looked at again soon, the first page now and then; a hidden page rests.
    let age = 0;
    const timer = setInterval(() => {
        if (document.hidden) return;
        age += 1;
        const busy = items.some((j) => !api.ENDED.has(j.state));
        if (busy ? age >= 1 : !params.get('cursor') && age >= 6) {
            age = 0;
            load();
            return;
        }
        for (const t of body.querySelectorAll('time')) t.textContent = relative(t.dateTime);
    }, 2000);
    signal.addEventListener('abort', () => clearInterval(timer));

    show(params);
    return { element, show };
}
