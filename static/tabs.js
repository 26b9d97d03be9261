// tabs: panels of which one shows, chosen by tabs above them.

import { h } from './dom.js';

/** Tabs as the ARIA practices have them: arrows move between them, one is in the tab order. */
export function tab_panels(tabs, wanted, onshow) {
    const buttons = tabs.map(([key, label]) =>
        h(
            'button',
            {
                type: 'button',
                role: 'tab',
                id: `tab-${key}`,
                'aria-controls': `panel-${key}`,
                class: 'tab',
                onclick: () => {
                    show(key);
                    onshow(key);
                },
                onkeydown: (e) => {
                    const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
                    if (!by) return;
                    const at =
                        (tabs.findIndex(([k]) => k === key) + by + tabs.length) % tabs.length;
                    buttons[at].click();
                    buttons[at].focus();
                },
            },
            label,
        ),
    );
    const panels = tabs.map(([key, , content]) =>
        h(
            'div',
            { role: 'tabpanel', id: `panel-${key}`, 'aria-labelledby': `tab-${key}` },
            content,
        ),
    );
    function show(wish) {
        const key = tabs.some(([k]) => k === wish) ? wish : tabs[0][0];
        tabs.forEach(([k], i) => {
            buttons[i].setAttribute('aria-selected', String(k === key));
            buttons[i].tabIndex = k === key ? 0 : -1;
            panels[i].hidden = k !== key;
        });
    }
    show(wanted);
    return {
        element: h(
            'div',
            {},
            h('div', { role: 'tablist', class: 'tabs', 'aria-label': 'Details' }, buttons),
            panels,
        ),
        show,
    };
}
