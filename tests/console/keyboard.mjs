// The console without a mouse: keys that lead from page to page, the order in which one gets from part to part, where the focus
// is after what changes by itself, and what is read aloud unasked.

let person;
let at;
let fault;

export async function walks({ places, ...given }) {
  ({ person, at, fault } = given);
  const page = await person();
  await keys(page, places);
  for (const path of ['/schedules', '/dlq', '/']) await order(page, path);
  await closes(page);
  await stays(page);
  for (const [path] of places) await isQuiet(page, path);
  await page.context().close();
  console.log('keys lead where they say, and the focus stays');
}

// what has the focus, in words
const focused = (page) => page.evaluate(() => {
  const { activeElement: part } = document;
  return part === document.body ? 'nothing' : `${part.localName} ${part.id || part.textContent.trim().slice(0, 40)}`;
});

async function has(page, selector, when) {
  const is = await page.evaluate((selector) => document.activeElement.matches(selector), selector);
  if (!is) fault(`${when}: the focus is on ${await focused(page)}, not on ${selector}`);
}

async function keys(page, places) {
  await page.goto(at('/help'));
  for (const [path, key] of [...places.slice(1), places[0]]) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await page.waitForURL(at(path));
    await page.waitForSelector('main h1');
  }
  await page.keyboard.press('?');
  await page.waitForURL(at('/help'));
  for (const [path, key] of places) {
    const told = await page.innerText('main');
    if (!new RegExp(`g ${key}\\s+${await page.innerText(`nav a[href$="${path}"]`).then((text) => text.split('\n')[0])}`).test(told)) fault(`/help does not tell of g ${key}`);
  }
  await page.keyboard.press('/');
  await has(page, '#search', '/');
  // a key is a letter where one types
  await page.keyboard.type('gs?');
  if ((await page.inputValue('#search')) !== 'gs?') fault('keys act in the search field');
  await page.keyboard.press('Escape');
  if ((await focused(page)) !== 'nothing') fault('Escape does not leave the search field');
}

// From part to part: header, pages, what is on the page. Each can be reached and is seen to have the focus.
async function order(page, path) {
  await page.goto(at(path));
  await page.keyboard.press('Tab');
  await has(page, '.skip', `${path}, first`);
  const inView = await page.evaluate(() => document.activeElement.getBoundingClientRect().left >= 0);
  if (!inView) fault(`${path}: the skip link is not seen`);
  await page.keyboard.press('Enter');
  await has(page, '#main', `${path}, skipped`);
  await page.keyboard.press('Tab');
  await has(page, '#main *', `${path}, after the skip`);

  await page.goto(at(path));
  const stops = [];
  for (let stop = 0; stop < 400; stop++) {
    await page.keyboard.press('Tab');
    const seen = await page.evaluate(() => {
      const part = document.activeElement;
      if (part === document.body || part.dataset.stop) return null;
      part.dataset.stop = 'yes';
      const style = getComputedStyle(part);
      const box = part.getBoundingClientRect();
      return {
        region: ['.top', '.places', '#main'].findIndex((region) => part.closest(region)),
        outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        inView: box.bottom > 0 && box.top < innerHeight && box.width > 0,
        text: part.outerHTML.slice(0, 100),
      };
    });
    if (!seen) break;
    stops.push(seen);
  }
  for (const [number, { region, outlined, inView, text }] of stops.entries()) {
    if (!outlined) fault(`${path}: it is not seen that this has the focus: ${text}`);
    if (!inView) fault(`${path}: this has the focus and is not in view: ${text}`);
    if (number > 0 && region < stops[number - 1].region) fault(`${path}: this comes too late: ${text}`);
  }
  if (new Set(stops.map(({ region }) => region)).size !== 3) fault(`${path}: a region has nothing: ${stops.length} stops`);
  const missed = await page.evaluate(() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
    .filter((part) => part.checkVisibility({ visibilityProperty: true }) && part.type !== 'hidden' && !part.dataset.stop && !part.disabled)
    .map((part) => part.outerHTML.slice(0, 100)));
  if (missed.length) fault(`${path}: out of reach: ${missed.slice(0, 3).join(' | ')}`);
  const jumps = await page.evaluate(() => document.querySelectorAll('[tabindex]:not([tabindex="0"]):not([tabindex="-1"])').length);
  if (jumps) fault(`${path}: ${jumps} parts are out of turn`);
  // as it is read: one heading, and none below one that is not there
  const levels = await page.evaluate(() => [...document.querySelectorAll('h1, h2, h3, h4')].map((part) => Number(part.localName[1])));
  if (levels[0] !== 1 || levels.some((level, number) => number > 0 && (level === 1 || level > levels[number - 1] + 1))) fault(`${path}: headings ${levels}`);
}

// Escape closes what was opened, and the focus is where it was.
async function closes(page) {
  await page.goto(at('/schedules'));
  const summary = page.locator('summary:has-text("Pause")').first();
  await summary.focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await has(page, 'input[name=note]', 'into the form');
  await page.keyboard.type('never sent?/');
  await page.keyboard.press('Escape');
  await has(page, '.actions summary', 'Escape in a form');
  if (await page.locator('.actions details[open]').count()) fault('Escape does not close the form');
  if (await page.locator('main .notice').count()) fault('Escape does something');
  await page.locator('.menu summary').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await has(page, '.menu button', 'into the menu');
  await page.keyboard.press('Escape');
  await has(page, '.menu summary', 'Escape in the menu');
  if (await page.locator('.menu[open]').count()) fault('Escape does not close the menu');
}

// two samples on: the first may be on its way
async function changes(page) {
  for (let sample = 0; sample < 2; sample++) {
    await page.evaluate(() => { document.querySelector('#live h1').dataset.old = 'yes'; });
    await page.waitForFunction(() => !document.querySelector('#live h1').dataset.old);
  }
}

// What changes by itself takes nothing away: the same part has the focus, so that it is not read aloud again, what is open stays
// open, and what was scrolled stays where it was.
async function stays(page) {
  await page.goto(at('/'));
  await changes(page);
  for (const selector of ['details.table summary', '.tiles a']) {
    await page.locator(`#live ${selector}`).first().focus();
    if (selector.includes('summary')) await page.keyboard.press('Enter');
    await page.evaluate(() => { window.before = document.activeElement; });
    await changes(page);
    if (!(await page.evaluate(() => window.before === document.activeElement))) fault(`a sample takes the focus from ${selector}`);
  }
  if (!(await page.evaluate(() => document.querySelector('details.table').open))) fault('what is open closes');
  await page.setViewportSize({ width: 360, height: 800 });
  await page.goto(at('/cascade'));
  const scrolled = await page.evaluate(() => {
    const wide = document.querySelector('#live .wide');
    wide.scrollLeft = 40;
    return wide.scrollLeft;
  });
  if (!scrolled) fault('the stages cannot be scrolled');
  await changes(page);
  const after = await page.evaluate(() => document.querySelector('#live .wide').scrollLeft);
  if (after !== scrolled) fault(`a sample scrolls from ${scrolled} to ${after}`);
  await page.setViewportSize({ width: 1280, height: 900 });
}

// Nothing that changes by itself is read aloud.
async function isQuiet(page, path) {
  await page.goto(at(path));
  const loud = await page.evaluate(() => {
    const aloud = '[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log], [role=timer], [role=marquee], output, progress';
    return ['#live', '#age', '#dead'].flatMap((part) => {
      const changing = document.querySelector(part);
      const within = changing?.closest(aloud);
      return [within, ...changing?.querySelectorAll(aloud) ?? []].filter(Boolean).map((loud) => loud.outerHTML.slice(0, 100));
    });
  });
  if (loud.length) fault(`${path}: read aloud whenever it changes: ${loud.join(' | ')}`);
}
