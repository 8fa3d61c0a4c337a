// A person with a browser, as the BROWSER of an environment: signs in at the address as PERSON, and
// consents, or refuses if PERSON_REFUSES. What was shown, and where it ended, goes to PERSON_SAW (JSON).
import { writeFileSync, renameSync } from 'node:fs';
import { chromium } from 'playwright-core';

const { PERSON, PERSON_REFUSES, PERSON_CODE, PERSON_SAW, CHROMIUM } = process.env;
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'],
});
const saw = { pages: [], error: null };
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(10_000);
  page.on('framenavigated', (frame) => saw.pages.push({ address: frame.url() }));
  // Pages ask for fonts of the open network: there is none.
  await page.route((url) => !['127.0.0.1', 'localhost'].includes(url.hostname), (route) => route.abort());
  await page.goto(process.argv[2]);
  if (PERSON_CODE) {
    await page.fill('input[name=user_code]', PERSON_CODE);
    await page.click('button[type=submit]');
    await page.click('button[type=submit]');
  }
  await page.fill('input[name=login]', PERSON);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.waitForSelector('text=Authorize');
  await page.click(PERSON_REFUSES ? 'text=Cancel' : 'button[type=submit]');
  // The title of mailsyncd's page, and of the server's where there is no way back.
  await page.waitForFunction(() => ['mailsyncd', 'Sign-in Success'].includes(document.title));
  saw.end = { address: page.url(), title: await page.title(), text: await page.innerText('body'),
    html: await page.content(), storage: await page.context().storageState() };
} catch (error) {
  saw.error = String(error);
}
await browser.close();
writeFileSync(`${PERSON_SAW}.new`, JSON.stringify(saw));
renameSync(`${PERSON_SAW}.new`, PERSON_SAW);
