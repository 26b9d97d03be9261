// table: a sortable table that shows 200 rows at a time, so that 2,000 findings cost no more than
// 200. On narrow screens the style sheet turns the rows into cards (data-label names each cell).

import { h, icon, number } from './dom.js';

const PAGE = 200;

/** columns: [{key, label, cell(row), value(row)?, cls?}]; a column with value() can be sorted by.
    initial: the key of the column that the rows are sorted by at first. */
export function table_new({ columns, caption, cls = '', row_props = () => ({}), initial = null }) {
    let rows = [];
    let sorted = [];
    let sort = { key: initial, dir: 1 };
    let page = 0;

    const heads = columns.map((c) =>
        h(
            'th',
            {
                scope: 'col',
                class: c.cls,
                'data-key': c.key,
                'aria-sort': c.value ? (c.key === initial ? 'ascending' : 'none') : null,
            },
            c.value
                ? h(
                      'button',
                      { type: 'button', class: 'sort', onclick: () => sort_by(c.key) },
                      c.label,
                      h('span', { class: 'sort-mark', 'aria-hidden': 'true' }),
                  )
                : c.label,
        ),
    );
    const body = h('tbody', {});
    const pager = h('nav', { class: 'pager', 'aria-label': `Pages of: ${caption}` });
    // On a phone the header row is not shown; this select sorts there.
    const sorter = h(
        'div',
        { class: 'field phone-sort' },
        h(
            'label',
            {},
            'Sort by ',
            h(
                'select',
                {
                    onchange: (e) => {
                        const [key, dir] = e.target.value.split(':');
                        sort_by(key || null, Number(dir) || 1);
                    },
                },
                h('option', { value: '' }, 'Order in the graph'),
                columns
                    .filter((c) => c.value)
                    .flatMap((c) =>
                        [
                            [1, '↑'],
                            [-1, '↓'],
                        ].map(([d, mark]) =>
                            h('option', { value: `${c.key}:${d}` }, `${c.label} ${mark}`),
                        ),
                    ),
            ),
        ),
    );
    const element = h(
        'div',
        {},
        sorter,
        h(
            'div',
            { class: 'table-scroll', tabindex: '0', role: 'region', 'aria-label': caption },
            h(
                'table',
                { class: `table cards ${cls}` },
                h('caption', { class: 'visually-hidden' }, caption),
                h('thead', {}, h('tr', {}, heads)),
                body,
            ),
        ),
        pager,
    );

    function compare(a, b) {
        if (typeof a === 'number' && typeof b === 'number') return a - b;
        return String(a ?? '').localeCompare(String(b ?? ''), 'en', { numeric: true });
    }

    /** Up, down, then back to the order in which the rows came. */
    function sort_by(key, dir) {
        if (dir !== undefined) sort = { key, dir };
        else if (sort.key !== key) sort = { key, dir: 1 };
        else sort = sort.dir === 1 ? { key, dir: -1 } : { key: null, dir: 1 };
        heads.forEach((th) => {
            if (!th.hasAttribute('aria-sort')) return;
            th.setAttribute(
                'aria-sort',
                th.dataset.key !== sort.key ? 'none' : sort.dir > 0 ? 'ascending' : 'descending',
            );
        });
        page = 0;
        apply();
    }

    function apply() {
        const column = columns.find((c) => c.key === sort.key);
        sorted = rows;
        if (column) {
            const keyed = rows.map((row, i) => ({ row, i, v: column.value(row) }));
            keyed.sort((a, b) => sort.dir * compare(a.v, b.v) || a.i - b.i);
            sorted = keyed.map((k) => k.row);
        }
        render();
    }

    function render() {
        const pages = Math.max(1, Math.ceil(sorted.length / PAGE));
        page = Math.min(page, pages - 1);
        const fragment = document.createDocumentFragment();
        for (const row of sorted.slice(page * PAGE, (page + 1) * PAGE)) {
            fragment.append(
                h(
                    'tr',
                    row_props(row),
                    columns.map((c, i) =>
                        h(
                            i === 0 ? 'th' : 'td',
                            { class: c.cls, 'data-label': c.label, scope: i === 0 ? 'row' : null },
                            c.cell(row),
                        ),
                    ),
                ),
            );
        }
        body.replaceChildren(fragment);
        pager.hidden = pages === 1;
        if (pages === 1) return;
        const go = (to) => {
            page = to;
            render();
            element.scrollIntoView({ block: 'nearest' });
        };
        pager.replaceChildren(
            h(
                'button',
                {
                    type: 'button',
                    class: 'button',
                    disabled: page === 0,
                    onclick: () => go(page - 1),
                },
                icon('prev'),
                'Previous',
            ),
            h(
                'span',
                { class: 'pager-text' },
                `${number(page * PAGE + 1)}–${number(Math.min(sorted.length, (page + 1) * PAGE))} of ${number(sorted.length)}`,
            ),
            h(
                'button',
                {
                    type: 'button',
                    class: 'button',
                    disabled: page === pages - 1,
                    onclick: () => go(page + 1),
                },
                'Next',
                icon('next'),
            ),
        );
    }

    return {
        element,
        set(next) {
            rows = next;
            page = 0;
            apply();
        },
        /** Turns to the page that shows the first row that fits; returns its element. */
        reveal(fits) {
            const at = sorted.findIndex(fits);
            if (at < 0) return null;
            if (Math.floor(at / PAGE) !== page) {
                page = Math.floor(at / PAGE);
                render();
            }
            return body.children[at - page * PAGE];
        },
        body,
    };
}
